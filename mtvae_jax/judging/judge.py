"""How good a run's generated images are: against test images as a whole, and pixel by pixel given a few of them."""


import jax
import numpy as np

from mtvae_jax.conditioning import draw_masks
from mtvae_jax.config import has_second_stage
from mtvae_jax.judging.distribution_metrics import (
    coverage,
    crps,
    frechet_distance,
    precision_recall,
    probability_integral_transform,
)
from mtvae_jax.judging.hidden_pixels import LEVELS
from mtvae_jax.judging.image_features import inception_feature_extractor, train_feature_extractor
from mtvae_jax.judging.pixel_noise import PixelNoise
from mtvae_jax.judging.rivals import RIVALS
from mtvae_jax.methods import METHODS
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.process.distributed import on_main
from mtvae_jax.process.environment import cache_directory, own_numbers
from mtvae_jax.process.memory import enough_memory
from mtvae_jax.randomness import image_keys
from mtvae_jax.trained.model import load
from mtvae_jax.trained.prior import prior_directory
from mtvae_jax.workdir.directory import read_json, user_path, write_json

_KEY = 20240503  # every model is judged with the same masks and noise
_NOISE_IMAGES = 500  # validation images whose residuals are the pixel noise
_FEWEST_RESIDUALS = 64  # fewer say nothing about noise
_MOST_VALUES = 4096  # of an image, for a covariance of all of them, 134 MB
_FEWEST_IMAGES = 4  # precision and recall are of the third nearest other image


@on_main
@own_numbers
def judge(config, dataset, workdir, *, stream=None):
    """Judges the best model of a run with its prior, once: the result is kept as generation.json.

    `samples`: Fréchet distance, precision and recall of images from nothing against as many test images, for the
    learned prior and for the untrained one; `training_images` are judged alike, as the best that can be had; `warning`
    where the classifier behind the features is too bad for these figures to tell much.

    `given_pixels`: of p(x|m) on the hidden pixels of test images, with z from p(z|m) and, for comparison, from p(z)
    without a look at m: the error of the mean over draws, and with the pixel noise (see `PixelNoise`) coverage of
    central intervals and CRPS.

    Beside it what predicts the same pixels without a z (`rivals`): the training images' mean, the nearest of them, and
    the best linear predictor.

    `left_out`: what of this cannot be judged, and why, see the function of that name.

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
        "prior": _prior_name(model, workdir),
        "settings": dict(settings),
    }
    result = read_json(path)
    if result is not None and result.get("of") == judged:
        return result
    result, without = {"of": judged}, left_out(config, dataset)
    with enough_memory("judging", config, "generation.num_samples", "generation.num_images", "generation.draws"):
        if model.method.unconditioned and "samples" not in without:
            result["samples"] = _samples(model, dataset, settings, stream, without)
        if model.method.conditional_decoder and "given_pixels" not in without:
            result["given_pixels"] = _given_pixels(model, dataset, settings, without)
    if without:
        result["left_out"] = without
    write_json(path, result)
    return result


def _prior_name(model, workdir):
    """Of the folder of the second stage; None without one."""
    if model.prior is None or model.config.prior.joint:
        return None
    return prior_directory(workdir, model.config, model.step).name


def left_out(config, dataset):
    """Returns what cannot be judged of a run, which is known before it is trained.

    **Arguments:** `config`: resolved; `dataset`.
    **Returns:** {part of generation.json, such as "samples" or "given_pixels/conditional": why, in a few words}; of
    parts that the model has not, and where nothing is judged at all, nothing.
    """
    method, parts = METHODS[config.model.method], {}
    if config.generation.num_samples == 0:
        return parts
    no_prior, no_conditional_prior = _missing_priors(config)
    if method.unconditioned:
        if reason := _no_samples(config, dataset):
            parts["samples"] = reason
        elif no_prior:
            parts["samples/prior"] = no_prior
    if method.conditional_decoder:
        if reason := _no_hidden_pixels(config, dataset) or (no_prior and no_conditional_prior):
            parts["given_pixels"] = reason
        elif no_prior or no_conditional_prior:
            parts[f"given_pixels/{'un' * bool(no_prior)}conditional"] = no_prior or no_conditional_prior
    return parts


def _missing_priors(config):
    """Why there is no p(z), and why no p(z|m); None of one that there is."""
    settings, known = config.prior, LATENTS[config.model.latent].knows_prior
    if not has_second_stage(config) and not settings.joint:
        reason = f"config.prior.epochs = {settings.epochs} learns no prior"
        return None if known else reason, reason
    share = f"config.prior.unconditional = {settings.unconditional:g} learns "
    return (
        None if known or settings.unconditional > 0 else f"{share}no p(z)",
        None if settings.unconditional < 1 else f"{share}p(z) alone",
    )


def _no_samples(config, dataset):
    number = _num_samples(config.generation, dataset)
    if number < _FEWEST_IMAGES:
        return f"{number} images are to be compared; must be at least {_FEWEST_IMAGES}"
    height, width, _ = dataset.image_shape
    if height * width == 1 and config.generation.inception is None:
        return "images of a single pixel have no features"
    return None


def _no_hidden_pixels(config, dataset):
    """Why predictions of hidden pixels cannot be judged, None where they can."""
    height, width, channels = dataset.image_shape
    splits = ("test", dataset.test[: config.generation.num_images], 1), (
        "validation", dataset.validation[:_NOISE_IMAGES], _FEWEST_RESIDUALS
    )  # fmt: skip
    for name, images, least in splits:
        hidden = len(images) * (height * width - config.conditioning.num_pixels) * channels
        if hidden < least:  # draws with replacement hide more than so many
            hidden = int((~_masks(config, dataset.image_shape, len(images))).sum()) * channels
        if hidden < least:
            return f"{hidden} values of {name} images are hidden; must be at least {least}"
    return None


def _num_samples(settings, dataset):
    return min(settings.num_samples, len(dataset.test), len(dataset.train))


def _samples(model, dataset, settings, stream, without=()):
    features = _features(dataset, settings, stream)
    num = _num_samples(settings, dataset)
    real = features(dataset.test[:num])
    images = {"training_images": dataset.train[:num]}
    key = jax.random.key(_KEY)
    if "samples/prior" not in without:
        images["prior"] = model.sample(num, key)
    if not LATENTS[model.config.model.latent].knows_prior:
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


def _given_pixels(model, dataset, settings, without=()):
    images = dataset.test[: settings.num_images].astype(np.float32) / 255.0
    masks = _masks(model.config, model.image_shape, len(images))
    noise = _pixel_noise(model, dataset)
    result = {"num_images": len(images), "draws": settings.draws, "revealed": float(masks.sum((1, 2, 3)).mean())}
    for prior in ("conditional", "unconditional"):
        if f"given_pixels/{prior}" in without:
            continue
        draws = model.sample(settings.draws, jax.random.key(_KEY), images, masks, prior=prior)
        result[prior] = _judge_draws(draws, images, masks, noise)
    hidden, rivals = np.broadcast_to(~masks, images.shape), {}
    for name, rival in RIVALS.items():
        if name != "linear" or images[0].size <= _MOST_VALUES:
            errors = (rival(dataset.train)(images, masks) - images) ** 2
            rivals[name] = float(errors[hidden].mean())
    return result | {"rivals": rivals}


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
        **{f"coverage_{n}{name}": float(coverage(u, n / 100, hidden)) for name, u in pit.items() for n in LEVELS},
    }


def _pixel_noise(model, dataset):
    images = dataset.validation[:_NOISE_IMAGES].astype(np.float32) / 255.0
    masks = _masks(model.config, model.image_shape, len(images))
    hidden = np.broadcast_to(~masks, images.shape)
    return PixelNoise(model.reconstruct(images, masks)[hidden], images[hidden])


def _masks(config, image_shape, num):
    """As in training; where their number is random, as many pixels as the grid has."""
    keys = image_keys(jax.random.key(_KEY), num)
    count = config.conditioning.num_pixels if METHODS[config.model.method].empty_mask else None
    return np.asarray(draw_masks(config, keys, *image_shape[:2], count=count))
