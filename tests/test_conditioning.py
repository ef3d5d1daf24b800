"""Masks, counts and m: exact counts by brute force, distributions by closed forms."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from mtvae_jax.conditioning import (
    SAMPLINGS,
    box_mask,
    condition,
    draw_masks,
    exact_grid_mask,
    gaussian_mask,
    log_pixel_weights,
    mixture_mask,
    power_law_counts,
    uniform_mask,
)
from mtvae_jax.config import resolve, thesis_config
from mtvae_jax.ops.selection import mark_smallest
from mtvae_jax.randomness import image_keys

KEY = jax.random.key(7)


@pytest.mark.parametrize(("exponent", "empty"), [(20, 0.025), (60, 0.074)])
def test_power_law_counts_follow_the_power_law(exponent, empty):
    pixels, batch = 784, 200_000
    counts = np.asarray(power_law_counts(KEY, exponent, pixels, batch))
    assert counts.dtype == np.int32
    assert counts.min() >= 0
    assert counts.max() <= pixels
    # The fraction 1 − u has the distribution function 1 − (1 − t)^a: closed form, at every integer count.
    edges = np.arange(1, 200)
    expected = 1 - (1 - edges / pixels) ** exponent
    found = np.searchsorted(np.sort(counts), edges) / batch
    assert np.abs(found - expected).max() < 5 * 0.5 / math.sqrt(batch)
    assert abs((counts == 0).mean() - empty) < 0.002  # the figures of the specification
    assert abs((counts + 0.5).mean() / pixels - 1 / (exponent + 1)) < 0.001


def test_power_law_counts_reach_all_pixels_at_a_small_exponent():
    counts = np.asarray(power_law_counts(KEY, 0.01, 10, 500))
    assert set(counts.tolist()) <= set(range(11))
    assert counts.max() == 10
    assert counts.mean() > 8.5


@pytest.mark.parametrize(
    ("height", "width", "stride", "rows", "columns"),
    [
        (28, 28, 4, [1, 5, 9, 13, 17, 21, 25], [1, 5, 9, 13, 17, 21, 25]),
        (32, 32, 4, list(range(1, 32, 4)), list(range(1, 32, 4))),
        (5, 8, 3, [0, 3], [0, 3, 6]),
        (3, 3, 1, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_exact_grid_is_the_centred_grid(height, width, stride, rows, columns):
    mask = np.asarray(exact_grid_mask(height, width, stride))
    expected = np.zeros((height, width, 1), bool)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(mask, expected)
    before, after = rows[0], height - 1 - rows[-1]
    assert 0 <= after - before <= 1


@pytest.mark.parametrize(("side", "count"), [(28, 49), (32, 64), (64, 256)])
def test_exact_grid_of_the_thesis_datasets(side, count):
    assert exact_grid_mask(side, side, 4).sum() == count


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 35), min_size=3, max_size=3), seed=st.integers(0, 2**31))
def test_uniform_mask_reveals_exactly_count_pixels(counts, seed):
    mask = jax.jit(uniform_mask, static_argnums=(2, 3))(jax.random.key(seed), jnp.array(counts), 5, 7)
    assert mask.shape == (3, 5, 7, 1)
    assert mask.dtype == bool
    np.testing.assert_array_equal(np.asarray(mask).sum((1, 2, 3)), counts)


def test_uniform_mask_draws_every_subset_alike():
    batch = 20_000
    masks = np.asarray(uniform_mask(KEY, jnp.full(batch, 2), 2, 3)).reshape(batch, 6)
    subsets = list(itertools.combinations(range(6), 2))
    counts = [np.all(masks[:, list(s)], axis=1).sum() for s in subsets]
    assert sum(counts) == batch
    assert stats.chisquare(counts).pvalue > 1e-4


def test_smallest_breaks_ties_by_position_and_stays_exact():
    values = jnp.array([[5, 5, 5, 1, 9], [2**32 - 1] * 5, [0, 0, 0, 0, 0]], jnp.uint32)
    for k in range(6):
        marked = np.asarray(mark_smallest(values, jnp.full(3, k)))
        for row, mask in zip(np.asarray(values), marked, strict=True):
            expected = np.zeros(5, bool)
            expected[np.argsort(row, kind="stable")[:k]] = True
            np.testing.assert_array_equal(mask, expected)


def test_gaussian_mask_with_replacement_matches_its_pixel_probabilities():
    batch, size, count, std = 4000, 9, 12, 0.2
    masks = np.asarray(gaussian_mask(KEY, jnp.full(batch, count), size, size, std))[..., 0]
    axis = np.diff(stats.truncnorm(-2.5, 2.5, loc=4, scale=std * size).cdf(np.arange(size + 1) - 0.5))
    probability = np.outer(axis, axis)
    expected = 1 - (1 - probability) ** count  # drawn at least once in `count` draws
    assert probability.sum() == pytest.approx(1)
    error = np.abs(masks.mean(0) - expected) / np.sqrt(expected * (1 - expected) / batch + 1e-9)
    assert error.max() < 4.5
    assert masks.sum((1, 2)).max() <= count
    assert masks.sum((1, 2)).mean() == pytest.approx(expected.sum(), rel=0.01)  # repeats: fewer than 12
    assert expected.sum() < 11


def test_gaussian_mask_draws_beyond_one_chunk_and_respects_each_count():
    counts = jnp.array([0, 1, 64, 65, 500])
    shown = np.asarray(gaussian_mask(KEY, counts, 28, 28, 0.2)).sum((1, 2, 3))
    assert shown[0] == 0
    assert shown[1] == 1
    assert 40 < shown[2] <= 64
    assert shown[3] >= shown[2] - 20
    assert 150 < shown[4] <= 500


def test_gaussian_mask_follows_the_side_of_each_axis():
    masks = np.asarray(gaussian_mask(KEY, jnp.full(500, 30), 8, 40, 0.2))[..., 0]
    weight = masks.mean(0)
    rows = np.sqrt((weight.sum(1) * (np.arange(8) - 3.5) ** 2).sum() / weight.sum())
    columns = np.sqrt((weight.sum(0) * (np.arange(40) - 19.5) ** 2).sum() / weight.sum())
    assert 3.5 < columns / rows < 6.5


@pytest.mark.parametrize("counts", [[0, 1, 17, 36]])
def test_gaussian_mask_without_replacement_reveals_exactly_count_pixels(counts):
    mask = gaussian_mask(KEY, jnp.array(counts), 6, 6, 0.2, replacement=False)
    np.testing.assert_array_equal(np.asarray(mask).sum((1, 2, 3)), counts)


def test_gaussian_mask_without_replacement_is_successive_sampling():
    batch, std = 30_000, 0.3
    masks = np.asarray(gaussian_mask(KEY, jnp.full(batch, 2), 1, 4, std, replacement=False)).reshape(batch, 4)
    bound = 0.5 / std
    axis = np.diff(stats.truncnorm(-bound, bound, loc=1.5, scale=std * 4).cdf(np.arange(5) - 0.5))
    subsets = list(itertools.combinations(range(4), 2))
    # first i then j, or first j then i
    expected = [axis[i] * axis[j] / (1 - axis[i]) + axis[j] * axis[i] / (1 - axis[j]) for i, j in subsets]
    counts = [np.all(masks[:, list(s)], axis=1).sum() for s in subsets]
    assert sum(expected) == pytest.approx(1)
    assert stats.chisquare(counts, np.array(expected) * batch).pvalue > 1e-4


@pytest.mark.parametrize(("size", "std"), [(28, 0.2), (28, 0.05), (9, 0.01), (28, 10.0), (5, 0.3)])
def test_log_weights_of_pixels_are_integrals_of_the_normal_and_symmetric(size, std):
    def log_mass(pixel):  # of pixel ± ½, the density divided by what it is at the edge nearer to the middle
        low, high = sorted(abs(pixel + edge - (size - 1) / 2) / (std * size) for edge in (-0.5, 0.5))
        if pixel == (size - 1) / 2:
            low = -high
        inside, _ = integrate.quad(lambda t: np.exp(-(t**2 - low**2) / 2), low, high, epsabs=0.0)
        return np.log(inside) - low**2 / 2

    weights = log_pixel_weights(size, std)
    expected = np.array([log_mass(pixel) for pixel in range(size)])
    np.testing.assert_allclose(weights - weights.max(), expected - expected.max(), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(weights, weights[::-1])


@pytest.mark.parametrize("std", [0.05, 0.2, 10.0])
def test_gaussian_mask_without_replacement_leans_to_no_side(std):
    """Of float64 draws in NumPy, pixel by pixel, and of its own mirror images, quarter by quarter."""
    batch, size, count = 3000, 28, 400
    masks = np.asarray(gaussian_mask(KEY, jnp.full(batch, count), size, size, std, replacement=False))[..., 0]
    upper = stats.norm.sf(np.abs(np.arange(size + 1) - size / 2) / (std * size))
    axis = np.abs(np.diff(upper))  # the tail that is small, so that its differences are numbers
    scores = np.log(axis[:, None] * axis) + np.random.default_rng(0).gumbel(size=(batch, size, size))
    expected = scores >= np.partition(scores.reshape(batch, -1), -count)[:, -count, None, None]
    share, deviation = expected.mean(0), np.sqrt(expected.var(0) / batch + 1 / batch**2)
    assert (np.abs(masks.mean(0) - share) / (deviation * np.sqrt(2))).max() < 5
    for quarter in (masks[:, :14, :14], masks[:, :14, 14:], masks[:, 14:, :14], masks[:, 14:, 14:]):
        assert quarter.sum((1, 2)).mean() == pytest.approx(count / 4, abs=0.5)


@pytest.mark.parametrize("std", [1e-300, 1e-3, 0.01])
def test_however_small_the_spread_masks_are_mirror_images_of_each_other_as_often_as_not(std):
    batch = 2000  # of 5 pixels of a ring of 8, behind one of 4
    shown = np.asarray(gaussian_mask(KEY, jnp.full(batch, 9), 28, 28, std, replacement=False))[..., 0].mean(0)
    ring = [(r, c) for r in (12, 13, 14, 15) for c in (12, 13, 14, 15) if (r in (12, 15)) != (c in (12, 15))]
    np.testing.assert_array_equal(shown[13:15, 13:15], 1)
    np.testing.assert_allclose([shown[place] for place in ring], 5 / 8, atol=0.06)


@pytest.mark.parametrize("draw", ["counts", "uniform", "gaussian", "distinct"])
def test_an_image_draws_the_same_wherever_the_batch_is_cut(draw):
    def masks(keys):
        counts = jnp.full(len(keys), 10)
        return {
            "counts": lambda: power_law_counts(keys, 5.0, 784, len(keys)),
            "uniform": lambda: uniform_mask(keys, counts, 6, 7),
            "gaussian": lambda: gaussian_mask(keys, counts, 6, 7, 0.2),
            "distinct": lambda: gaussian_mask(keys, counts, 6, 7, 0.2, replacement=False),
        }[draw]()

    whole = masks(image_keys(KEY, 8))
    halves = jnp.concatenate([masks(image_keys(KEY, 4)), masks(image_keys(KEY, 4, first=4))])
    np.testing.assert_array_equal(whole, halves)
    assert len(np.unique(np.asarray(whole).reshape(8, -1), axis=0)) > 1


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 4)), seed=st.integers(0, 99))
def test_condition_is_the_masked_image_and_the_mask(shape, seed):
    rng = np.random.default_rng(seed)
    images = rng.uniform(size=shape).astype(np.float32)
    mask = rng.uniform(size=(*shape[:3], 1)) < 0.5
    m = np.asarray(condition(jnp.asarray(images), jnp.asarray(mask)))
    for b, y, x in np.ndindex(*shape[:3]):
        revealed = mask[b, y, x, 0]
        np.testing.assert_array_equal(m[b, y, x, :-1], images[b, y, x] if revealed else 0)
        assert m[b, y, x, -1] == revealed
    one_mask = np.asarray(condition(jnp.asarray(images), jnp.asarray(mask[0])))
    np.testing.assert_array_equal(one_mask[-1, ..., -1:], mask[0])


# ----------------------------------------------------------------------------------------------------- the box, and all


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_a_box_is_one_rectangle_of_about_so_many_pixels(height, width, data):
    count = data.draw(st.integers(0, height * width))
    masks = np.asarray(box_mask(jax.random.key(data.draw(st.integers(0, 99))), jnp.full(16, count), height, width))
    for mask in masks[..., 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)  # full rows times full columns: a rectangle
        assert all(np.diff(rows) == 1)
        assert all(np.diff(columns) == 1)
        assert abs(int(mask.sum()) - count) <= len(rows) / 2
    if count in (0, height * width):
        assert (masks.sum((1, 2, 3)) == count).all()


def test_a_box_lies_anywhere_and_is_of_any_shape():
    masks = np.asarray(box_mask(jax.random.key(0), jnp.full(4000, 24), 12, 12))[..., 0]
    shapes = {(int(mask.any(1).sum()), int(mask.any(0).sum())) for mask in masks}
    assert shapes == {(rows, round(24 / rows)) for rows in range(2, 13)}  # a row alone cannot have 24 pixels
    shown = masks.mean(0)
    # No side of the image is preferred
    for mirrored in (shown[::-1], shown[:, ::-1]):
        assert np.abs(shown - mirrored).max() < 6 * np.sqrt(0.25 / 4000) * np.sqrt(2)
    for corner in (shown[0, 0], shown[-1, -1]):
        assert corner > 0


@pytest.mark.parametrize("name", SAMPLINGS)
def test_what_a_sampling_type_promises(name):
    config = thesis_config(latent="gaussian", method="multi_decoder")
    config.conditioning.sampling = name
    config = resolve(config, (12, 10, 1))
    sampling, keys = SAMPLINGS[name], jax.random.split(jax.random.key(3), 64)
    masks = np.asarray(draw_masks(config, keys, 12, 10))
    assert (masks.shape, masks.dtype) == ((64, 12, 10, 1), bool)
    np.testing.assert_array_equal(draw_masks(config, keys[7:9], 12, 10), masks[7:9])  # of an image's own key alone
    counts = masks.sum((1, 2, 3))
    grid = config.conditioning.num_pixels
    if sampling.own_counts:
        assert len(set(counts)) > 16
    elif sampling.distinct is None:
        assert set(counts) == {grid}
    if sampling.fixed_grid:
        assert (masks == masks[0]).all()
    else:
        asked = np.asarray(draw_masks(config, keys, 12, 10, count=24)).sum((1, 2, 3))
        assert asked.mean() == pytest.approx(24, abs=2)
    if sampling.weights is not None:
        weights = sampling.weights(12, 10, config.conditioning)
        assert weights.sum() == pytest.approx(1)
    assert sampling.describe(config.conditioning)
    with pytest.raises(KeyError, match="blue_noise"):
        SAMPLINGS["blue_noise"]


def test_areas_of_boxes_are_drawn_uniformly():
    config = thesis_config(latent="gaussian", method="multi_decoder")
    config.conditioning.sampling = "box"
    masks = draw_masks(resolve(config, (12, 10, 1)), jax.random.split(jax.random.key(4), 4000), 12, 10)
    shares = np.asarray(masks).mean((1, 2, 3))
    assert stats.kstest(shares, "uniform").statistic < 0.08  # but for what rounding to whole rows moves


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
def test_the_mixture_hides_each_pixel_as_often_as_its_law_says(height, width):
    masks = np.asarray(mixture_mask(image_keys(jax.random.key(0), 20_000), height, width))
    assert (masks.shape, masks.dtype) == ((20_000, height, width, 1), bool)
    expected = hidden_probability(height, width)
    np.testing.assert_allclose(1 - masks.mean(0)[..., 0], expected, atol=5 * np.sqrt(0.25 / 20_000))
    shares = masks.mean((1, 2, 3))
    assert 1 - shares.mean() == pytest.approx(expected.mean(), abs=5 * shares.std() / np.sqrt(20_000))
    assert masks.reshape(20_000, -1).all(1).sum() == 0


def test_a_mask_of_the_mixture_depends_on_its_key_alone():
    keys = image_keys(jax.random.key(1), 9)
    np.testing.assert_array_equal(mixture_mask(keys, 8, 8)[:4], mixture_mask(keys[:4], 8, 8))
