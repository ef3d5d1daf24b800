"""The mixture of masks: how much each pixel is revealed, and all of them, against the law worked out by enumeration."""

import itertools

import jax
import numpy as np
import pytest

from benchmarks.mask_mixture import mixture_mask
from mtvae_jax.randomness import image_keys

NUM = 20_000


def hidden_probability(height, width):
    """P(pixel is hidden), float [H, W]: over the seven kinds, squares and rectangles enumerated one by one."""
    total = 2 * np.full((height, width), 0.5)
    for half in (np.s_[:, : width // 2], np.s_[: height // 2], np.s_[:, width // 2 :], np.s_[height // 2 :]):
        total[half] += 1
    places = list(itertools.product(range(height // 2), range(width // 2)))
    for top, left in places:
        total[top : top + height // 2, left : left + width // 2] += 2 / len(places)
    rectangles, number = np.zeros((height, width)), 0
    for y1, y2, x1, x2 in itertools.product(range(height), range(height), range(width), range(width)):
        top, bottom, left, right = min(y1, y2), max(y1, y2), min(x1, x2), max(x1, x2)
        if (bottom - top + 1) * (right - left + 1) >= 0.3 * height * width:
            rectangles[top : bottom + 1, left : right + 1] += 1
            number += 1
    return (total + 2 * rectangles / number) / 10


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 6)])
def test_each_pixel_is_hidden_as_often_as_the_law_says(height, width):
    masks = mixture_mask(image_keys(jax.random.key(0), NUM), height, width)
    assert (masks.shape, masks.dtype) == ((NUM, height, width, 1), bool)
    expected = hidden_probability(height, width)
    np.testing.assert_allclose(1 - masks.mean(0)[..., 0], expected, atol=5 * np.sqrt(0.25 / NUM))
    shares = masks.mean((1, 2, 3))
    assert 1 - shares.mean() == pytest.approx(expected.mean(), abs=5 * shares.std() / np.sqrt(NUM))
    assert masks.reshape(NUM, -1).all(1).sum() == 0


def test_a_mask_depends_on_its_key_alone():
    keys = image_keys(jax.random.key(1), 9)
    np.testing.assert_array_equal(mixture_mask(keys, 8, 8)[:4], mixture_mask(keys[:4], 8, 8))
