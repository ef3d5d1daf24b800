"""SoftAdapt against its published figures, closed forms and a float64 transcription of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mtvae_jax.balancing import SLOPES, VARIANTS, SoftAdapt, softadapt

# The example of the released code, whose README states the second row of weights.
HISTORY = np.array([[1, 2, 3, 4, 5], [150, 100, 50, 10, 0.1], [1500, 1000, 500, 100, 1]])
PUBLISHED = {
    ("least_squares", "original"): [0.98198, 0.01802, 1e-17],
    ("least_squares", "normalized"): [0.34437, 0.34119, 0.31444],
    ("least_squares", "loss_weighted"): [0.72495, 0.27505, 1.6e-15],
    ("released", "original"): [0.99343, 0.0065666, 3.9e-22],
    ("released", "normalized"): [0.3221, 0.3251, 0.3528],
    ("released", "loss_weighted"): [0.87978, 0.12022, 7.1e-20],
}

compiled = jax.jit(softadapt, static_argnames=("variant", "slope"))
losses = arrays(np.float64, st.tuples(st.integers(1, 4), st.just(6)), elements=st.floats(0.01, 10.0))
each = pytest.mark.parametrize(("slope", "variant"), PUBLISHED)


def transcription(history, beta, variant, slope):
    x, weights = np.arange(history.shape[1]), None
    if slope == "least_squares":
        slopes = np.polyfit(x, history.T, 1)[0]
    else:
        slopes = np.array([np.polynomial.Polynomial.fit(x, f, len(x) - 1).deriv()(0.0) for f in history])
    if variant == "normalized":
        slopes = slopes / (np.abs(slopes).sum() if slope == "least_squares" else slopes.sum() + 1e-8)
    weights = np.exp(beta * (slopes - slopes.max())) * (history.mean(1) if variant == "loss_weighted" else 1.0)
    return weights / weights.sum()


@each
def test_the_published_example(slope, variant):
    found = np.asarray(compiled(HISTORY, variant=variant, slope=slope))
    expected = np.array(PUBLISHED[slope, variant])
    np.testing.assert_allclose(found, expected, atol=5.1e-5 if (slope, variant) == ("released", "normalized") else 6e-6)
    np.testing.assert_allclose(found[expected < 1e-3], expected[expected < 1e-3], rtol=0.07)


@settings(max_examples=40, deadline=None)
@given(losses, st.sampled_from(VARIANTS), st.floats(-2, 2))
def test_least_squares_weights_are_the_papers(history, variant, beta):
    slopes = np.polyfit(np.arange(6), history.T, 1)[0]
    if np.abs(slopes).sum() < 1e-3:  # what is nothing to the one is a rounding error to the other
        variant = "original"
    found = compiled(history, beta=beta, variant=variant)
    np.testing.assert_allclose(found, transcription(history, beta, variant, "least_squares"), atol=2e-4)


@pytest.mark.parametrize("length", [2, 3, 6, 9])
def test_the_released_slope_is_the_polynomials_at_its_oldest_value(length):
    history = np.random.default_rng(length).uniform(0.5, 2.0, (3, length))
    for variant in VARIANTS:
        found = compiled(history, variant=variant, slope="released")
        np.testing.assert_allclose(found, transcription(history, 0.1, variant, "released"), rtol=2e-3)


@each
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1e30])
def test_weights_are_finite_and_sum_to_one_at_every_scale(slope, variant, scale):
    for history in (HISTORY * scale, np.ones((3, 5)) * scale, -HISTORY[::-1] * scale):
        found = np.asarray(compiled(np.float32(history), variant=variant, slope=slope))
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(1, rel=1e-5)


def test_normalised_weights_do_not_depend_on_the_scale_of_the_loss():
    found = [compiled(HISTORY * scale, variant="normalized") for scale in (1e-6, 1.0, 1e6)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-5)


@each
def test_equal_weights_until_the_history_is_full(slope, variant):
    unfinished = HISTORY.copy()
    unfinished[:, 0] = np.nan
    for history in (unfinished, HISTORY[:, :1], HISTORY[:, :0]):
        np.testing.assert_allclose(compiled(history, variant=variant, slope=slope), np.full(3, 1 / 3), rtol=1e-6)


@each
def test_no_gradient_passes(slope, variant):
    gradient = jax.grad(lambda history: jnp.sum(softadapt(history, variant=variant, slope=slope) ** 2))(HISTORY)
    np.testing.assert_array_equal(gradient, 0)


def test_unknown_names_are_refused():
    for settings_ in ({"variant": "median"}, {"slope": "newest"}):
        with pytest.raises(ValueError, match="softadapt"):
            softadapt(HISTORY, **settings_)
    assert set(PUBLISHED) == {(slope, variant) for slope in SLOPES for variant in VARIANTS}


def test_weights_follow_the_means_of_every_so_many_steps_and_hold_between():
    parts = np.random.default_rng(0).uniform(0.1, 1.0, (40, 3)).astype(np.float32)
    rule = SoftAdapt(variant="loss_weighted", beta=2.0, window=3, every=4)
    follow, balance = jax.jit(rule.follow), rule.start(3)
    for step in range(40):
        entries = parts[: step // 4 * 4].reshape(-1, 4, 3).mean(1)
        expected = np.full(3, 1 / 3)
        if len(entries) >= 3:
            expected = transcription(np.float64(entries[-3:].T), 2.0, "loss_weighted", "least_squares")
        np.testing.assert_allclose(balance.weights, expected, rtol=1e-4)
        balance = follow(balance, parts[step], np.int32(step))
