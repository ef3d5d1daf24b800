"""Which masks a model has seen in training, and whether others are like them.

A conditional decoder is trained on one type of mask, and may do worse with others than with none: one that saw 49
uniform pixels, with an error of 0.015 on MNIST, has one of 0.083 when it is shown all 784.
"""

import numpy as np

from mtvae_jax.conditioning import COUNTS, SAMPLINGS, exact_grid_mask
from mtvae_jax.errors import number_of
from mtvae_jax.methods import METHODS

# Half as many pixels as the fewest in training, or twice as many as the most, are no longer like training's.
_FAR = 2
# Standard deviations by which the place of a mask's pixels differs from training's, and the share of masks of training
# for which it does so by chance, with room to spare.
_DEVIATIONS, _BY_CHANCE = 6.0, 0.01
_FEWEST_TO_JUDGE = 4  # pixels: the average place of fewer may be anywhere
_MOST_TO_JUDGE = 1000  # masks


def unlike_training(config, masks):
    """Says in a line how masks differ from those of a model's training; None where they are like them.

    They differ where they reveal pixels that training never did, far more or fewer pixels, or pixels in other parts of
    the image: by their average row, column and squared distance from the middle, which training's masks of as many
    pixels have within a few standard deviations. Which grid of evenly spread pixels is no matter to uniform sampling.

    **Arguments:** `config`: resolved, of a model with a conditional decoder; `masks`: bool [N, H, W].
    """
    height, width = masks.shape[1:]
    settings, num_pixels = config.conditioning, height * width
    sampling, law = SAMPLINGS[settings.sampling], COUNTS[METHODS[config.model.method].counts]
    fewest, most = (1, num_pixels) if sampling.any_number(law) else law.usual(settings, num_pixels)
    weights = None if sampling.weights is None else sampling.weights(height, width, settings)
    elsewhere = False
    if sampling.fixed_grid:
        elsewhere = np.any(masks & ~np.asarray(exact_grid_mask(height, width, settings.grid_stride))[..., 0])
    elif weights is not None:
        elsewhere = _lies_elsewhere(masks, weights)
    if _repeats(sampling, settings):  # how many different pixels so many draws reveal
        fewest = int(np.sum(-np.expm1(-fewest * weights)))
    trained = f"{_number(settings, law, sampling, num_pixels, most)}, {sampling.describe(settings)}"
    counts = np.sum(masks, axis=(1, 2))
    if elsewhere:
        found = "reveals pixels where training does not"
    elif _FAR * counts.min() < fewest:
        found = f"reveals {number_of(counts.min(), 'pixel')}"
    elif counts.max() > _FAR * most:
        found = f"reveals {number_of(counts.max(), 'pixel')}"
    else:
        return None
    return f"mask: {found}; this model was trained on {trained}, and may do worse with others than with none"


def _number(settings, law, sampling, num_pixels, most):
    if sampling.any_number(law):
        return f"any number of {num_pixels} pixels"
    if not law.constant:
        return f"a power law's number of pixels (exponent {settings.exponent:g}, seldom more than {most})"
    draws = "draws of" if _repeats(sampling, settings) else "of"
    return f"{settings.num_pixels} {draws} {num_pixels} pixels"


def _repeats(sampling, settings):
    """Whether pixels are drawn one by one, and one may be drawn several times."""
    return sampling.distinct is not None and sampling.weights is not None and settings.replacement


def _lies_elsewhere(masks, weights):
    """Whether pixels of masks [N, H, W] lie where those drawn with weights [H, W] that sum to 1 do not."""
    height, width = weights.shape
    row, column = np.mgrid[:height, :width]
    row, column = (row - (height - 1) / 2).ravel(), (column - (width - 1) / 2).ravel()
    places = np.stack([row, column, row**2 + column**2])
    # Chance of each pixel to be among those revealed, by the number of draws; and by that the number revealed, and the
    # mean and variance of their average place.
    draws = np.geomspace(1, 10 / max(weights.min(), 1e-300), 128)
    chance = -np.expm1(-draws[:, None] * weights.ravel())
    revealed = chance.sum(1)
    mean = chance @ places.T / revealed[:, None]
    second = (chance * (1 - chance)) @ np.stack([places**2, places, np.ones_like(places)]).transpose(0, 2, 1)
    variance = (second[0] - 2 * mean * second[1] + mean**2 * second[2]) / revealed[:, None] ** 2
    masks = masks[:: -(-len(masks) // _MOST_TO_JUDGE)]
    counts = masks.sum((1, 2))
    judged = (counts >= _FEWEST_TO_JUDGE) & (counts <= revealed[-1])
    masks, counts = masks[judged], counts[judged]
    if len(masks) == 0:
        return False
    average = masks.reshape(len(masks), -1) @ places.T / counts[:, None]
    elsewhere = np.zeros(len(masks), bool)
    for place, means, variances, values in zip(places, mean.T, variance.T, average.T, strict=True):
        deviation = np.sqrt(np.interp(counts, revealed, variances)) + 0.01 * np.std(place)
        elsewhere |= np.abs(values - np.interp(counts, revealed, means)) > _DEVIATIONS * deviation
    return elsewhere.mean() > _BY_CHANCE
