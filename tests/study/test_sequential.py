"""Intervals that hold at every look: simulated studies whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from mtvae_jax.study.sequential import FIRST_LOOK, MOST_PAIRS, critical_values, pairs_for, repeated_intervals

STUDIES = 20_000
CHANCE = 4 * math.sqrt(0.05 * 0.95 / STUDIES)  # four standard deviations of a share of 5 %, and of its simulated bounds


def studies(effect, rng=0):
    """Effects of 20 pairs each, whose standard deviation from pair to pair is 1."""
    return np.random.default_rng(rng).normal(effect, 1.0, (STUDIES, MOST_PAIRS))


def first(decided):
    """The look at which each study is decided; as many as there are for those that never are."""
    return np.where(decided.any(-1), decided.argmax(-1), decided.shape[-1])


@pytest.mark.parametrize("level", [0.95, 0.9])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_all_intervals_of_a_sequence_together_cover_the_mean(level, scale):
    low, high = repeated_intervals(scale * studies(3.0, rng=7), level)
    missed = ((low > 3 * scale) | (high < 3 * scale)).any(-1).mean()
    assert missed == pytest.approx(1 - level, abs=1.5 * CHANCE)


def test_the_bounds_are_wider_than_those_of_a_single_look_and_end_near_them():
    single = stats.t.isf(0.025, np.arange(FIRST_LOOK, MOST_PAIRS + 1) - 1)
    bounds = critical_values(0.05)
    assert (bounds > single).all()
    assert (np.diff(bounds) < 0.05).all()
    assert bounds[-1] < 1.3 * single[-1]


@pytest.mark.parametrize("n", [3, 4, 9, 20])
def test_an_interval_is_the_mean_and_a_multiple_of_scipys_standard_error(n):
    effects = 100 + np.random.default_rng(n).normal(0, 1e-3, n)
    low, high = repeated_intervals(effects, 0.95)
    assert len(low) == n - 2
    half = critical_values(0.05)[n - FIRST_LOOK] * stats.sem(effects)
    np.testing.assert_allclose((low[-1], high[-1]), (effects.mean() - half, effects.mean() + half), rtol=1e-12)


def test_too_few_effects_have_no_interval_and_equal_ones_no_width():
    assert repeated_intervals([1.0, 2.0], 0.95)[0].shape == (0,)
    assert repeated_intervals([], 0.95)[0].shape == (0,)
    np.testing.assert_array_equal(repeated_intervals([0.3] * 5, 0.95), np.full((2, 3), 0.3))


# Sides of a decision, the share of studies that find the direction, and the mean number of pairs until they do
@pytest.mark.parametrize(("effect", "power", "pairs"), [(0.7, 0.77, 14.8), (1.0, 0.97, 11.3), (2.0, 1.0, 6.5),
                                                        (5.0, 1.0, 4.2)])
def test_a_direction_is_found_as_often_and_as_soon_as_the_documentation_says(effect, power, pairs):
    low, high = repeated_intervals(studies(effect), 0.95)
    right, wrong = first(low > 0), first(high < 0)
    assert (right < wrong).mean() == pytest.approx(power, abs=0.01)
    assert (wrong < right).mean() < 0.002
    used = np.minimum(np.minimum(right, wrong) + FIRST_LOOK, MOST_PAIRS)
    assert used.mean() == pytest.approx(pairs, abs=0.1)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0, 4.0])
def test_of_no_effect_and_of_one_at_the_margin_at_most_5_per_cent_are_judged_wrongly(margin):
    """Direction first, and no difference where the direction is open: the rule of `mtvae_jax.study.verdicts`."""
    for effect in (0.0, margin, 1.2 * margin):
        effects = studies(effect, rng=3)
        low, high = repeated_intervals(effects, 0.95)
        narrow_low, narrow_high = repeated_intervals(effects, 0.9)
        up, down = first(low > 0), first(high < 0)
        same = first((narrow_low > -margin) & (narrow_high < margin))
        looks = low.shape[-1]
        wrongly_up = (up < looks) & (up <= same) & (up <= down) if effect == 0 else np.zeros(STUDIES, bool)
        wrongly_down = (down < looks) & (down <= same) & (down <= up)
        wrongly_same = (same < looks) & (same < np.minimum(up, down)) if effect else np.zeros(STUDIES, bool)
        assert (wrongly_up | wrongly_down | wrongly_same).mean() <= 0.05 + CHANCE


@pytest.mark.parametrize(("effect", "region"), [(-1.1, (-math.inf, 0)), (0.1, (-2, 2)), (3.0, (-2, 2)), (-12.0,
                                                (-math.inf, -10.0))])
def test_the_pairs_that_it_would_take_are_those_after_which_it_is_decided(effect, region):
    deviation = 1.3
    needed = pairs_for(effect, deviation, *region, 0.95)
    assert needed <= MOST_PAIRS
    for pairs in range(FIRST_LOOK, MOST_PAIRS + 1):
        noise = np.random.default_rng(0).normal(size=pairs)
        effects = effect + deviation * (noise - noise.mean()) / noise.std(ddof=1)
        low, high = (ends[-1] for ends in repeated_intervals(effects, 0.95))
        inside, outside = region[0] < low and high < region[1], high <= region[0] or low >= region[1]
        if pairs >= needed:
            assert inside or outside
        elif pairs == needed - 1:
            assert not inside
            assert not outside


def test_an_effect_at_the_border_is_never_decided():
    assert pairs_for(0.0, 1.0, -math.inf, 0.0, 0.95) is None
    assert pairs_for(0.1, 1.0, -math.inf, 0.0, 0.95) > MOST_PAIRS
