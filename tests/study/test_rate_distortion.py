"""Curves of which the area between them is known in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from mtvae_jax.study.rate_distortion import difference_at_equal_rate, frontier
from mtvae_jax.study.statistics import mean_effect


def exponential(rates, *, scale=1.0, rate=0.1):
    """log distortion is a straight line: what the interpolation has to reproduce exactly."""
    return rates, 0.02 * scale * np.exp(-rate * np.asarray(rates))


RATES = np.array([4.0, 9.0, 15.0, 22.0, 30.0])


def test_a_curve_as_good_at_other_rates_is_no_better():
    """What a smaller β does: a move along the same curve."""
    assert difference_at_equal_rate(exponential(RATES + 2.3), exponential(RATES)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scale", [0.8, 0.99, 1.3])
def test_a_curve_that_is_lower_everywhere_is_lower_by_that_much(scale):
    found = difference_at_equal_rate(exponential(RATES + 2.3, scale=scale), exponential(RATES))
    assert found == pytest.approx(100 * (scale - 1))


def test_the_area_between_two_lines():
    """log ratio (r_b − r_a)·R, averaged over the common rates 6 … 30."""
    found = difference_at_equal_rate(exponential(RATES + 2, rate=0.12), exponential(RATES, rate=0.1))
    assert found == pytest.approx(100 * math.expm1(-0.02 * (6 + 30) / 2))


def test_a_curve_between_its_points_is_close_to_the_curve_it_was_taken_from():
    """Distortion 1/(1 + R): the interpolation of five points against the integral of the true curves."""
    a, b = (lambda r: 1 / (1 + r)), (lambda r: 1.2 / (2 + r) ** 0.9)
    mean = quad(lambda r: math.log(a(r) / b(r)), 5, 30)[0] / 25
    found = difference_at_equal_rate((RATES + 1, a(RATES + 1)), (RATES, b(RATES)))
    assert found == pytest.approx(100 * math.expm1(mean), abs=0.5)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_the_comparison_is_symmetric_and_ignores_order_and_units(seed):
    rng = np.random.default_rng(seed)
    a, b = ((rng.uniform(0, 30, 6), rng.uniform(0.01, 0.03, 6)) for _ in range(2))
    found = difference_at_equal_rate(a, b)
    if math.isnan(found):
        assert math.isnan(difference_at_equal_rate(b, a))
        return
    assert math.log1p(found / 100) == pytest.approx(-math.log1p(difference_at_equal_rate(b, a) / 100))
    order = rng.permutation(6)
    shuffled = (a[0][order], a[1][order])
    assert difference_at_equal_rate(shuffled, b) == pytest.approx(found)
    scaled = [(2 * rate, 1000 * distortion) for rate, distortion in (a, b)]
    assert difference_at_equal_rate(*scaled) == pytest.approx(found)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1, 2, 5, math.nan]), st.sampled_from([0.0, 1, 2, 3, math.inf])), max_size=8
    )
)
def test_the_frontier_is_what_no_other_point_beats(points):
    """Against the definition, pair by pair."""
    usable = {(r, d) for r, d in points if math.isfinite(r) and math.isfinite(d) and d > 0}
    expected = sorted(
        (r, d) for r, d in usable if not any(q != (r, d) and q[0] <= r and q[1] <= d for q in usable)
    )
    rate, distortion = frontier([r for r, _ in points], [d for _, d in points])
    assert list(zip(rate, distortion, strict=True)) == expected
    assert (np.diff(rate) > 0).all()
    assert (np.diff(distortion) < 0).all()


def test_a_point_that_training_has_spoilt_changes_nothing():
    rate, distortion = exponential(RATES)
    spoilt = np.append(rate, 12.0), np.append(distortion, 0.019)  # more than at rate 9
    assert difference_at_equal_rate(spoilt, exponential(RATES, scale=1.1)) == pytest.approx(100 * (1 / 1.1 - 1))


@pytest.mark.parametrize(
    "rates",
    [RATES + 26, RATES + 40, RATES + 24.5, [10.0], [], [math.nan, 12.0]],
    ids=["touching", "apart", "sliver", "point", "empty", "not finite"],
)
def test_curves_with_nothing_in_common_have_no_difference(rates):
    assert math.isnan(difference_at_equal_rate(exponential(np.array(rates)), exponential(RATES)))
    assert math.isnan(difference_at_equal_rate(exponential(RATES), exponential(np.array(rates))))


def test_two_points_are_enough():
    found = difference_at_equal_rate(exponential(np.array([5.0, 20.0]), scale=0.9), exponential(RATES[:2]))
    assert found == pytest.approx(-10)


def test_the_interval_over_seeds_covers_the_truth_where_training_is_noisy():
    """Distortions off by 3 %, half of it the seed's own, and rates by 0.3 nats; the truth is −5 %."""
    rng, simulations = np.random.default_rng(0), 150

    def noisy(scale, shift, seed):
        rates = np.array([9.0, 13, 18, 24, 30]) + shift + rng.normal(0, 0.3, 5)
        return rates, scale * np.exp(-0.05 * rates + seed + rng.normal(0, 0.02, 5))

    effects = np.empty((simulations, 3))
    for index in np.ndindex(effects.shape):
        seed = rng.normal(0, 0.02)
        effects[index] = difference_at_equal_rate(noisy(0.95, 2, seed), noisy(1.0, 0, seed))
    found = mean_effect(effects)
    assert np.mean((found.low <= -5) & (found.high >= -5)) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / simulations)
    assert effects.mean() == pytest.approx(-5, abs=0.3)
