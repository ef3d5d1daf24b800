"""Predictions of hidden pixels, scored: by their mean, pixel by pixel, and as draws of whole images.

A predictor is called with images float [N, H, W, C], masks bool [N, H, W, 1] and a key, and returns draws of what the
image may be, float32 [S, N, H, W, C]; S = 1 where it knows but one. What a pixel adds to that, its noise, is the
residuals of the predictor on held-out images with masks of the same kind (`PixelNoise`), so that every predictor has a
distribution, and as good a one as it can have without a look at the image.
"""

import jax
import numpy as np
from scipy.special import logsumexp

from mtvae_jax.judging.distribution_metrics import crps, probability_integral_transform
from mtvae_jax.judging.pixel_noise import PixelNoise

LEVELS = (50, 80, 95)
LEAST_DEVIATION = 0.01  # of a pixel, as the Neural Process Family has it
_OBSERVED = 16  # values that a prediction of a single draw is given noise for
_IMAGES_AT_ONCE = 250
_POOLED = 7  # sides of the image whose variogram is scored
_ENERGY_DRAWS = 16  # of all draws, for the energy score: unbiased whatever their number


def fit_noise(predict, images, masks, key):
    """Returns the `PixelNoise` of a predictor: residuals of its first draw, so of a predictor that has but one. Where
    draws differ, their spread would count twice: such a predictor needs residuals given what its draws are of.

    **Arguments:** held-out `images`, their `masks`; `key`: of the draws.
    """
    hidden = np.broadcast_to(~masks, images.shape)
    return PixelNoise(predict(images, masks, key)[0][hidden], images[hidden])


def score(predict, noise, images, masks, key):
    """Scores of a predictor, an image: name → float64 [N], means over its hidden values; NaN where none is hidden.

    `mse` of the mean over draws, `mse_endless` of the mean of endlessly many, by an unbiased estimate; fair `crps`;
    `coverage_50`, `_80`, `_95`: the share of central intervals that hold the truth; `energy`: the fair energy score
    of the image with the revealed pixels pasted in; `variogram`: the variogram score of order ½ of that image
    averaged over 7 × 7 places (Scheuerer and Hamill 2015), whose pairs weigh alike; `psnr`: of the mean over draws,
    with the revealed pixels pasted in, dB; `log_likelihood`: of all pixels, nats, as the Neural Process Family has
    it (Dubois, Gordon and Foong 2020): the logarithm of the mean over draws of a Gaussian
    whose deviation is that of the noise, and at least `LEAST_DEVIATION`, which revealed pixels have.

    **Arguments:** `images`: float32 [N, H, W, C]; `masks`: bool [N, H, W, 1]; `key`: of draws and noise.
    """
    parts = []
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        parts.append(_score(predict, noise, images[part], masks[part], jax.random.fold_in(key, start)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _score(predict, noise, images, masks, key):
    import scoringrules  # not every use of this package scores

    draws = predict(images, masks, key)
    hidden = np.broadcast_to(~masks, images.shape)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    observed = noise(np.repeat(draws, _OBSERVED, axis=0) if len(draws) == 1 else draws, generator)
    u = probability_integral_transform(observed, images, key)

    def mean(values):
        with np.errstate(invalid="ignore"):
            return np.sum(np.float64(values), axis=(1, 2, 3), where=hidden) / hidden.sum((1, 2, 3))

    error = (draws.mean(0) - images) ** 2
    pasted = np.where(masks, images, observed)
    few = pasted[:_ENERGY_DRAWS].reshape(min(len(pasted), _ENERGY_DRAWS), len(images), -1)
    small = _pooled(pasted)
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(np.where(hidden, error, 0).mean((1, 2, 3), dtype=np.float64))
    return {
        "mse": mean(error),
        "mse_endless": mean(error - draws.var(0, ddof=1) / len(draws) if len(draws) > 1 else error),
        "crps": mean(crps(observed, images)),
        **{f"coverage_{level}": mean(np.abs(np.asarray(u) - 0.5) <= level / 200) for level in LEVELS},
        "energy": _by_image(scoringrules.es_ensemble, images.reshape(len(images), -1), few, estimator="fair"),
        "variogram": _by_image(scoringrules.vs_ensemble, _pooled(images[None])[0], small, p=0.5),
        "psnr": psnr,
        "log_likelihood": _log_likelihood(draws, noise, images, masks),
    }


def _log_likelihood(draws, noise, images, masks):
    """log mean over draws of N(x | draw, σ²), nats an image: float64 [N]."""
    masks, nats = np.broadcast_to(masks, images.shape), []
    for draw in draws:
        deviation = np.where(masks, LEAST_DEVIATION, np.maximum(noise.deviation(draw), LEAST_DEVIATION))
        error = np.where(masks, 0, draw - images) / deviation
        densities = -0.5 * np.float64(error) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
        nats.append(densities.sum((1, 2, 3)))
    return logsumexp(nats, axis=0) - np.log(len(nats))


def _by_image(rule, truth, draws, **options):
    """A multivariate score of each image: `truth` [N, D], `draws` [S, N, D] → float64 [N]; in few megabytes."""
    few = 10
    parts = [slice(start, start + few) for start in range(0, len(truth), few)]
    return np.concatenate(
        [rule(np.float64(truth[part]), np.float64(draws[:, part].swapaxes(0, 1)), **options) for part in parts]
    )


def _pooled(images):
    """Means over `_POOLED` × `_POOLED` places, as equal as they can be: [S, N, H, W, C] → [S, N, places · C]."""
    height, width = images.shape[2:4]
    for axis, size in ((2, height), (3, width)):
        starts = np.arange(min(_POOLED, size)) * size // min(_POOLED, size)
        lengths = np.diff([*starts, size]).reshape([-1 if i == axis else 1 for i in range(5)])
        images = np.add.reduceat(images, starts, axis=axis) / lengths
    return images.reshape(*images.shape[:2], -1)
