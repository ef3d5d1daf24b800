"""Distances of distributions and calibration against closed forms, SciPy and the definitions, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mtvae_jax.judging import distribution_metrics
from mtvae_jax.judging.distribution_metrics import (
    coverage,
    crps,
    frechet_distance,
    precision_recall,
    probability_integral_transform,
)

# ----------------------------------------------------------------------------------------------- Fréchet distance


def test_frechet_distance_against_the_matrix_square_root():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)
    b = rng.normal(size=(150, 12)) @ rng.normal(size=(12, 12))
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(covariance_a + covariance_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_fewer_images_than_features():
    """Most directions have no variance at all, in which a square root of eigenvalues would magnify rounding errors."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(300, 300)))
    few = rng.normal(size=(20, 300)) * 10
    assert frechet_distance(few, few[::-1]) == pytest.approx(0, abs=1e-9)
    # Orthogonal supports: the square root vanishes, and the variances add up.
    a = np.concatenate([rng.normal(size=(20, 10)), np.zeros((20, 290))], axis=1)
    b = np.concatenate([np.zeros((20, 10)), rng.normal(size=(20, 290))], axis=1)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum()
    assert frechet_distance(a @ basis, b @ basis) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_of_float32_far_from_the_origin():
    """A shift by one at 1000 is a distance of one a feature: float32 would lose it in the covariances."""
    a = (1000 + np.random.default_rng(0).normal(size=(100, 4))).astype(np.float32)
    assert frechet_distance(a, a + np.float32(1)) == pytest.approx(4, rel=1e-6)


# ---------------------------------------------------------------------------------------------- precision and recall


def brute_force_share(points, centres, k):
    """The share of points within a ball, from differences, pair by pair."""
    inside = []
    for point in points:
        covered = False
        for i, centre in enumerate(centres):
            others = sorted(np.sum((centre - other) ** 2) for j, other in enumerate(centres) if j != i)
            covered |= np.sum((centre - point) ** 2) <= others[k - 1]
        inside.append(covered)
    return np.mean(inside)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(*[st.integers(4, 14)] * 2), k=st.integers(1, 3))
def test_precision_and_recall_against_brute_force(seed, sizes, k):
    """Integers, so that many points coincide or lie on the very edge of a ball."""
    rng = np.random.default_rng(seed)
    real, generated = (rng.integers(-3, 4, (size, 2)).astype(float) for size in sizes)
    expected = brute_force_share(generated, real, k), brute_force_share(real, generated, k)
    assert precision_recall(real, generated, k) == pytest.approx(expected, abs=1e-12)


def test_precision_and_recall_in_blocks_equal_those_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(101, 3)), 1 + rng.normal(size=(73, 3))
    at_once = precision_recall(real, generated)
    assert all(0 < share < 1 for share in at_once)
    monkeypatch.setattr(distribution_metrics, "_ROWS_AT_ONCE", 7)
    assert precision_recall(real, generated) == at_once


@pytest.mark.parametrize(
    ("shape_a", "shape_b"), [((5, 3), (5, 2)), ((1, 3), (5, 3)), ((5,), (5,)), ((5, 2, 2), (5, 2, 2))]
)
def test_features_that_do_not_fit_are_refused(shape_a, shape_b):
    with pytest.raises(ValueError, match="must be"):
        frechet_distance(np.zeros(shape_a), np.zeros(shape_b))
    with pytest.raises(ValueError, match="must be"):
        precision_recall(np.zeros(shape_a), np.zeros(shape_b))


def test_features_that_are_not_finite_and_k_out_of_range_are_refused():
    with pytest.raises(ValueError, match="not all finite"):
        frechet_distance(np.zeros((5, 2)), np.full((5, 2), np.nan))
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k = {k}"):
            precision_recall(np.zeros((5, 2)), np.zeros((6, 2)), k)


# ------------------------------------------------------------------------------------------------------------- CRPS


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 9), levels=st.sampled_from([2, 5, 10**6]))
def test_crps_against_its_definition(seed, size, levels):
    rng = np.random.default_rng(seed)
    draws, truth = (np.float32(rng.integers(0, levels, shape) / levels) for shape in ((size, 3, 2, 1), (3, 2, 1)))
    x, y = draws.astype(np.float64), truth.astype(np.float64)
    pairs = sum(np.abs(x[s] - x[t]) for s, t in itertools.permutations(range(size), 2)) / (size * (size - 1))
    expected = np.mean(np.abs(x - y), axis=0) - pairs / 2
    np.testing.assert_allclose(crps(draws, truth), expected, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 20])
def test_crps_is_unbiased_for_the_score_of_a_normal(size):
    """Closed form: σ [z (2 Φ(z) − 1) + 2 φ(z) − 1/√π]; an ensemble score that is not fair is σ/(S √π) above it."""
    mean, std, truth, repeats = 0.4, 0.1, 0.55, 40_000
    z = (truth - mean) / std
    normal = scipy.stats.norm
    expected = std * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / np.sqrt(np.pi))
    draws = mean + std * jax.random.normal(jax.random.key(0), (size, repeats))
    scores = np.asarray(jax.jit(crps)(draws, jnp.full((repeats,), truth)), np.float64)
    error = 5 * scores.std() / np.sqrt(repeats)
    assert scores.mean() == pytest.approx(expected, abs=error)
    assert error < std / (size * np.sqrt(np.pi)) / 2  # tight enough to tell the fair score from the other


# ---------------------------------------------------------------------------------------------- PIT and its coverage


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    size=st.sampled_from([2, 5, 19]),
    levels=st.sampled_from([1, 2, 3, 256]),
    level=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_pit_is_uniform_and_covers_its_level_where_truth_could_be_a_draw(seed, size, levels, level):
    """However many ties there are: with one level all draws equal the truth."""
    num = 8000
    values = np.random.default_rng(seed).integers(0, levels, (size + 1, num)) / np.float32(255)
    # Exchangeable, but not independent: most pixels are at the lowest level for certain.
    values[:, : num // 2] = 0
    values = jax.random.permutation(jax.random.key(seed), jnp.asarray(values, jnp.float32), axis=1)
    u = probability_integral_transform(values[1:], values[0], jax.random.key(seed + 1))
    assert scipy.stats.kstest(np.asarray(u), "uniform").pvalue > 1e-6
    assert coverage(u, level) == pytest.approx(level, abs=5 * np.sqrt(level * (1 - level) / num))


def test_pit_is_the_interval_of_the_rank():
    """Draws 0, 1, 1, 2 and truth 1, in levels: one below, two equal, so u lies anywhere in [1/5, 4/5)."""
    draws = jnp.broadcast_to(jnp.asarray([0.0, 1.2, 0.8, 2.0])[:, None] / 255, (4, 20_000))
    u = probability_integral_transform(draws, jnp.full((20_000,), 1 / 255), jax.random.key(0))
    assert scipy.stats.kstest(np.asarray(u), "uniform", (0.2, 0.6)).pvalue > 1e-3


def test_pit_beyond_the_intensities_counts_as_black_or_white():
    draws, truth = jnp.asarray([[-0.3, 1.4], [-0.1, 1.2]]), jnp.asarray([0.0, 1.0])
    u = np.asarray([probability_integral_transform(draws, truth, jax.random.key(i)) for i in range(50)])
    assert u.min() < 0.2
    assert u.max() > 0.8


def test_pit_with_a_key_an_image_does_not_depend_on_the_batch():
    draws = jax.random.uniform(jax.random.key(0), (3, 6, 2, 2, 1)).round()
    truth, keys = draws[0], jax.random.split(jax.random.key(1), 6)
    whole = probability_integral_transform(draws, truth, keys)
    parts = [probability_integral_transform(draws[:, i : i + 2], truth[i : i + 2], keys[i : i + 2]) for i in (0, 2, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_coverage_counts_where_it_is_told():
    u = jnp.asarray([[[0.5], [0.99]], [[0.5], [0.01]]])  # [N, H, C]
    assert coverage(u, 0.9) == 0.5
    assert coverage(u, 0.9, where=jnp.asarray([[[True], [False]], [[True], [True]]])) == pytest.approx(2 / 3)
    colour = jnp.broadcast_to(u, (2, 2, 3))
    assert coverage(colour, 0.9, where=jnp.asarray([[[True], [False]], [[True], [False]]])) == 1
    assert jnp.isnan(coverage(u, 0.9, where=jnp.zeros((2, 2, 1), bool)))


@pytest.mark.parametrize("function", [crps, lambda *given: probability_integral_transform(*given, jax.random.key(0))])
def test_draws_that_do_not_fit_are_refused(function):
    for draws, truth in (((3, 5), (4,)), ((1, 5), (5,)), ((5,), (5,))):
        with pytest.raises(ValueError, match=r"must be \[S"):
            function(jnp.zeros(draws), jnp.zeros(truth))
    with pytest.raises(ValueError, match="must be floats"):
        function(jnp.zeros((3, 5), jnp.uint8), jnp.zeros((5,)))
