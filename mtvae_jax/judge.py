"""How good a run's generated images are: against test images as a whole, and pixel by pixel given a few of them."""


import jax
import numpy as np

from mtvae_jax.conditioning import image_keys
from mtvae_jax.config import is_quantised
from mtvae_jax.distributed import on_main
from mtvae_jax.distribution_metrics import (
    coverage,
    crps,
    frechet_distance,
    precision_recall,
    probability_integral_transform,
)
from mtvae_jax.environment import cache_directory
from mtvae_jax.generate import load
from mtvae_jax.image_features import inception_feature_extractor, train_feature_extractor
from mtvae_jax.learned_prior import prior_directory
from mtvae_jax.objective import draw_masks
from mtvae_jax.pixel_noise import PixelNoise
from mtvae_jax.workdir import read_json, user_path, write_json

_KEY = 20240503  # every model is judged with the same masks and noise
_LEVELS = (50, 80, 95)
_NOISE_IMAGES = 500  # validation images whose residuals are the pixel noise


@on_main
def judge(config, dataset, workdir, *, stream=None):
    """Judges the best model of a run with its prior, once: the result is kept as generation.json.

    `samples`: Fréchet distance, precision and recall of images from nothing against as many test images, for the
    learned prior and for the untrained one; `training_images` are judged alike, as the best that can be had; `warning`
    where the classifier behind the features is too bad for these figures to tell much.

    `given_pixels`: of p(x|m) on the hidden pixels of test images, with z from p(z|m) and, for comparison, from p(z)
    without a look at m: the error of the mean over draws, and with the pixel noise (see `PixelNoise`) coverage of
    central intervals and CRPS.

    **Arguments:** `config`: resolved; `dataset`; `workdir`: of a run whose stages are complete; `stream`: where
    progress goes, standard output if None.
    **Returns:** what generation.json holds; None where `generation.num_samples` is 0.
    """
    settings, path = config.generation, user_path(workdir) / "generation.json"
    if settings.num_samples == 0:
        return None
    model = load(workdir)
    judged = {
        "model_step": model.step,
        "prior": None if model.prior is None else prior_directory(workdir, config, model.step).name,
        "settings": dict(settings),
    }
    result = read_json(path)
    if result is not None and result.get("of") == judged:
        return result
    result = {"of": judged}
    if model.method.unconditioned:
        result["samples"] = _samples(model, dataset, settings, stream)
    if model.method.conditional_decoder:
        result["given_pixels"] = _given_pixels(model, dataset, settings)
    write_json(path, result)
    return result


def _samples(model, dataset, settings, stream):
    features = _features(dataset, settings, stream)
    num = min(settings.num_samples, len(dataset.test), len(dataset.train))
    real = features(dataset.test[:num])
    images = {"training_images": dataset.train[:num]}
    key = jax.random.key(_KEY)
    images["prior"] = model.sample(num, key)
    if is_quantised(model.config.model.latent) and model.prior is not None:
        images["untrained_prior"] = model.sample(num, key, prior="untrained")
    result = {"features": features.description, "num_images": num}
    if features.warning is not None:
        result["warning"] = features.warning
    for name, generated in images.items():
        described = features(generated)
        precision, recall = precision_recall(real, described)
        result[name] = {
            "frechet_distance": frechet_distance(real, described),
            "precision": precision,
            "recall": recall,
        }
    return result


def _features(dataset, settings, stream):
    if settings.inception is None:
        return train_feature_extractor(dataset, cache_dir=cache_directory() / "features", stream=stream)
    return inception_feature_extractor(settings.inception)


def _given_pixels(model, dataset, settings):
    images = dataset.test[: settings.num_images].astype(np.float32) / 255.0
    masks = _masks(model, len(images))
    noise = _pixel_noise(model, dataset)
    result = {"num_images": len(images), "draws": settings.draws, "revealed": float(masks.sum((1, 2, 3)).mean())}
    for prior in ("conditional", "unconditional"):
        if prior == "conditional" and (model.prior is None or not model.prior.sees_pixels):
            continue
        draws = model.sample(settings.draws, jax.random.key(_KEY), images, masks, prior=prior)
        result[prior] = _judge_draws(draws, images, masks, noise)
    return result


def _judge_draws(draws, images, masks, noise):
    """Figures over the hidden pixels of draws [S, N, H, W, C]."""
    hidden = np.broadcast_to(~masks, images.shape)
    observed = noise(draws, np.random.default_rng(_KEY))
    pit = {
        "": probability_integral_transform(observed, images, jax.random.key(_KEY)),
        "_without_noise": probability_integral_transform(draws, images, jax.random.key(_KEY)),
    }
    return {
        "mse_of_mean": float(np.mean((draws.mean(0) - images)[hidden] ** 2)),
        "mse_of_draw": float(np.mean(((draws - images) ** 2)[:, hidden])),
        "standard_deviation": float(np.sqrt(np.mean(draws.var(0, ddof=1)[hidden]))),
        "crps": float(np.mean(np.asarray(crps(observed, images))[hidden])),
        **{f"coverage_{n}{name}": float(coverage(u, n / 100, hidden)) for name, u in pit.items() for n in _LEVELS},
    }


def _pixel_noise(model, dataset):
    images = dataset.validation[:_NOISE_IMAGES].astype(np.float32) / 255.0
    masks = _masks(model, len(images))
    hidden = np.broadcast_to(~masks, images.shape)
    return PixelNoise(model.reconstruct(images, masks)[hidden], images[hidden])


def _masks(model, num):
    """As in training; where their number is random, as many pixels as the grid has."""
    keys = image_keys(jax.random.key(_KEY), num)
    count = model.config.conditioning.num_pixels if model.method.empty_mask else None
    return np.asarray(draw_masks(model.config, keys, *model.image_shape[:2], count=count))
