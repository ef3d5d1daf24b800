"""Effects and intervals against SciPy, closed forms, and what they promise: coverage, measured by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mtvae_jax.study.statistics import bootstrap_effect, mean_effect, paired_effects

SIMULATIONS = 4000


def pairs_of(rng, n, size=1.0):
    b = rng.normal(5, size, n)
    return b + rng.normal(0.3, 0.5, n), b


def paired_effect(a, b, *, unit="percent", level=0.95):
    return mean_effect(paired_effects(a, b, unit=unit), level=level)


def covered(estimate, truth):
    return float(np.mean((estimate.low <= truth) & (truth <= estimate.high)))


def tolerance(level, simulations=SIMULATIONS):
    """Four standard deviations of a share that is `level` in truth."""
    return 4 * math.sqrt(level * (1 - level) / simulations)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_paired_effect_is_scipys_paired_t_test(n, level):
    a, b = pairs_of(np.random.default_rng(n), n)
    found = paired_effect(a, b, unit="units", level=level)
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(level)
    np.testing.assert_allclose(found, (np.mean(a - b), interval.low, interval.high, n, expected.pvalue))


def test_per_cent_are_of_each_pairs_own_b():
    a, b = np.array([1.1, 3.0, 0.5]), np.array([1.0, 2.0, 2.0])
    np.testing.assert_allclose(paired_effects(a, b), [10.0, 50.0, -75.0])
    expected = stats.ttest_1samp([10.0, 50.0, -75.0], 0)
    found = paired_effect(a, b)
    np.testing.assert_allclose((found.mean, found.p), (-5.0, expected.pvalue))


def test_a_study_among_many_is_judged_as_if_alone():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, (2, 3, 4, 5))
    b[1, 2, :2] = np.nan
    together = paired_effect(a, b)
    for index in itertools.product(range(3), range(4)):
        np.testing.assert_allclose([field[index] for field in together], paired_effect(a[index], b[index]))


def test_what_is_not_finite_is_left_out_with_its_pair():
    a, b = np.array([1.1, np.nan, 3.0, np.inf, 2.2, 5.0]), np.array([1.0, 1.0, np.nan, 2.0, 2.0, -np.inf])
    np.testing.assert_allclose(paired_effect(a, b), paired_effect(a[[0, 4]], b[[0, 4]]))
    assert paired_effect(a, b).pairs == 2


def test_per_cent_of_nothing_is_unknown():
    assert np.isnan(paired_effects([1.0, 1.0, 0.0], [0.0, -1.0, 0.0])).all()
    np.testing.assert_allclose(paired_effects([1.0, 1.0], [0.0, -1.0], unit="units"), [1.0, 2.0])
    with pytest.raises(ValueError, match="unit = 'nats'"):
        paired_effects(1.0, 1.0, unit="nats")


def test_no_pair_has_no_mean_and_one_has_no_interval():
    none, one = mean_effect([]), mean_effect([3.0])
    assert none.pairs == 0
    assert np.isnan([none.mean, none.low, none.high, none.p]).all()
    assert (one.mean, one.pairs) == (3.0, 1)
    assert np.isnan([one.low, one.high, one.p]).all()


@pytest.mark.parametrize(("effect", "p"), [(0.0, 1.0), (2.0, 0.0), (-2.0, 0.0)])
def test_the_same_effect_every_time_has_an_interval_without_width(effect, p):
    assert mean_effect([effect] * 3) == (effect, effect, effect, 3, p)
    assert bootstrap_effect(np.full((3, 2), effect), rng=np.random.default_rng(0)) == (effect, effect, effect, 6, p)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(2, 8), low=st.floats(-3, 0.2), width=st.floats(0.1, 6),
    alpha=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_an_interval_inside_a_region_is_two_one_sided_tests(seed, n, low, width, alpha):
    a, b = pairs_of(np.random.default_rng(seed), n)
    above = stats.ttest_1samp(a - b, low, alternative="greater").pvalue
    below = stats.ttest_1samp(a - b, low + width, alternative="less").pvalue
    found = paired_effect(a, b, unit="units", level=1 - 2 * alpha)
    assert (low < found.low, found.high < low + width) == (above < alpha, below < alpha)


def bootstrap_means(effects):
    """The mean of each draw of folds and seeds there is, and how likely each draw is: all alike."""
    folds, seeds = effects.shape
    return [
        effects[np.ix_(rows, columns)].mean()
        for rows in itertools.product(range(folds), repeat=folds)
        for columns in itertools.product(range(seeds), repeat=seeds)
    ]


@pytest.mark.parametrize("shape", [(3, 1), (4, 2), (3, 3), (1, 4)])
def test_the_bootstrap_draws_folds_and_seeds_as_wholes(shape):
    """Against all draws, one by one; the error is inflated for n clusters, and t's have n − 1 degrees of freedom."""
    effects = np.random.default_rng(9).normal(1, 1, shape) + np.arange(shape[0])[:, None]
    n = shape[0] if shape[0] > 1 else shape[1]
    half = stats.t.ppf(0.975, n - 1) * np.std(bootstrap_means(effects)) * math.sqrt(n / (n - 1))
    found = bootstrap_effect(effects, rng=np.random.default_rng(0), resamples=20_000)
    assert found.mean == pytest.approx(effects.mean())
    assert found.high - found.mean == pytest.approx(half, rel=0.03)
    assert found.mean - found.low == pytest.approx(half, rel=0.03)
    error = half / stats.t.ppf(0.975, n - 1)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.mean) / error, n - 1), rel=0.1)


def test_of_one_seed_a_fold_the_bootstrap_is_the_t_interval():
    effects = np.random.default_rng(1).normal(1, 1, (5, 1))
    found = bootstrap_effect(effects, rng=np.random.default_rng(0), resamples=100_000, level=0.9)
    np.testing.assert_allclose(found[:3], mean_effect(effects[:, 0], level=0.9)[:3], rtol=0.02)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_the_bootstrap_over_folds_covers_the_truth_as_often_as_it_says(folds, level):
    effects = np.random.default_rng(folds).normal(1.5, 2.0, (SIMULATIONS, folds, 1))
    found = bootstrap_effect(effects, level=level, rng=np.random.default_rng(0), resamples=1000)
    # 1000 draws, the same for all simulations, leave 2 to 3 % of chance in the width: one point of coverage
    assert covered(found, 1.5) == pytest.approx(level, abs=tolerance(level) + 0.01)


@pytest.mark.parametrize(("fold", "seed", "rest"), [(1, 0, 1), (0, 0, 1), (1, 1, 1), (0, 0.5, 1), (1, 0.3, 0.5)])
@pytest.mark.parametrize(("folds", "seeds"), [(3, 2), (5, 3)])
def test_the_bootstrap_over_folds_and_seeds_does_not_cover_less_than_it_says(folds, seeds, fold, seed, rest):
    rng = np.random.default_rng(11)
    effects = fold * rng.normal(size=(1500, folds, 1)) + seed * rng.normal(size=(1500, 1, seeds))
    effects = effects + rest * rng.normal(size=(1500, folds, seeds))
    found = bootstrap_effect(effects, rng=np.random.default_rng(0), resamples=500)
    assert covered(found, 0.0) >= 0.95 - tolerance(0.95, 1500)


def test_the_bootstrap_covers_with_missing_runs():
    rng = np.random.default_rng(13)
    effects = rng.normal(size=(1500, 5, 1)) + rng.normal(size=(1500, 5, 3))
    effects[:, 0, 1:], effects[:, 3, 2] = np.nan, np.nan
    found = bootstrap_effect(effects, rng=np.random.default_rng(0), resamples=500)
    assert covered(found, 0.0) >= 0.95 - tolerance(0.95, 1500)
    np.testing.assert_allclose(found.mean, np.nanmean(effects, (1, 2)))
    assert (found.pairs == 12).all()


def test_a_fold_without_runs_does_not_count():
    effects = np.array([[1.0], [np.nan], [2.0], [4.0]])
    without = bootstrap_effect(effects[[0, 2, 3]], rng=np.random.default_rng(0), resamples=50_000)
    found = bootstrap_effect(effects, rng=np.random.default_rng(0), resamples=50_000)
    assert found.pairs == 3
    assert found.mean == pytest.approx(without.mean)
    # An empty fold is sometimes drawn, which leaves fewer: no narrower, and not much wider
    assert without.high - without.low <= found.high - found.low <= 1.35 * (without.high - without.low)


def test_one_run_alone_has_no_bootstrap_interval():
    for effects in ([[2.0]], [[2.0, np.nan], [np.nan, np.nan]]):
        found = bootstrap_effect(np.array(effects), rng=np.random.default_rng(0))
        assert (found.mean, found.pairs) == (2.0, 1)
        assert np.isnan([found.low, found.high, found.p]).all()
    assert bootstrap_effect(np.full((3, 2), np.nan), rng=np.random.default_rng(0)).pairs == 0
