"""Scores of predicted hidden pixels, on predictors whose scores are known."""

import jax
import numpy as np
import pytest
from scipy import stats

from mtvae_jax.judging.hidden_pixels import fit_noise, score

GENERATOR = np.random.default_rng(0)
TRUTH = GENERATOR.normal(0.5, 0.1, (40, 10, 9, 1)).astype(np.float32)
MASKS = GENERATOR.uniform(size=(40, 10, 9, 1)) < 0.3
NO_NOISE = fit_noise(lambda images, masks, key: images[None], TRUTH, MASKS, jax.random.key(0))


def ideal(images, masks, key):
    """Draws from the distribution that the truth is from."""
    return 0.5 + 0.1 * np.asarray(jax.random.normal(key, (64, *images.shape)))


def test_of_draws_from_the_truth_s_distribution():
    found = score(ideal, NO_NOISE, TRUTH, MASKS, jax.random.key(1))
    assert all(values.shape == (40,) for values in found.values())
    assert found["mse"].mean() == pytest.approx(0.01 * (1 + 1 / 64), rel=0.05)
    assert found["mse_endless"].mean() == pytest.approx(0.01, rel=0.05)
    few = score(lambda *seen: ideal(*seen)[:2], NO_NOISE, TRUTH, MASKS, jax.random.key(1))
    assert few["mse"].mean() == pytest.approx(0.015, rel=0.05)
    assert few["mse_endless"].mean() == pytest.approx(0.01, rel=0.05)
    assert found["crps"].mean() == pytest.approx(0.1 / np.sqrt(np.pi), rel=0.05)  # of N(0, σ²) against itself: σ/√π
    for level in (50, 80, 95):
        assert found[f"coverage_{level}"].mean() == pytest.approx(level / 100, abs=0.02)
    hidden = (~MASKS).sum((1, 2, 3))
    # E‖x − y‖ / 2 of two draws in as many dimensions as are hidden
    expected = 0.5 * np.sqrt(2) * 0.1 * stats.chi(hidden).mean()
    np.testing.assert_allclose(found["energy"].mean(), expected.mean(), rtol=0.05)


def test_of_the_truth_itself_nothing_is_wrong():
    found = score(lambda images, masks, key: images[None], NO_NOISE, TRUTH, MASKS, jax.random.key(1))
    for name in ("mse", "crps", "energy", "variogram"):
        np.testing.assert_allclose(found[name], 0, atol=1e-6)


@pytest.mark.parametrize("name", ["crps", "energy", "variogram"])
def test_proper_scores_prefer_the_right_spread_and_the_right_dependence(name):
    def wide(images, masks, key):
        return 0.5 + 0.3 * np.asarray(jax.random.normal(key, (64, *images.shape)))

    def alike(images, masks, key):  # each pixel right, all of an image the same
        return np.broadcast_to(
            0.5 + 0.1 * np.asarray(jax.random.normal(key, (64, len(images), 1, 1, 1))), (64, *images.shape)
        )

    best = score(ideal, NO_NOISE, TRUTH, MASKS, jax.random.key(1))[name].mean()
    assert score(wide, NO_NOISE, TRUTH, MASKS, jax.random.key(1))[name].mean() > 1.1 * best
    if name != "crps":  # which sees one pixel at a time
        assert score(alike, NO_NOISE, TRUTH, MASKS, jax.random.key(1))[name].mean() > 1.02 * best


def test_a_prediction_of_one_value_has_the_noise_of_held_out_images():
    def mean(images, masks, key):
        return np.full((1, *images.shape), 0.5, np.float32)

    noise = fit_noise(mean, TRUTH[:20], MASKS[:20], jax.random.key(0))
    found = score(mean, noise, TRUTH[20:], MASKS[20:], jax.random.key(1))
    assert found["coverage_80"].mean() == pytest.approx(0.8, abs=0.03)
    assert found["crps"].mean() == pytest.approx(0.1 / np.sqrt(np.pi), rel=0.1)


def test_revealed_pixels_do_not_count_and_nothing_hidden_is_nan():
    def wrong_where_revealed(images, masks, key):
        return np.where(masks, 1.0, images)[None].astype(np.float32)

    masks = MASKS.copy()
    masks[0] = True
    found = score(wrong_where_revealed, NO_NOISE, TRUTH, masks, jax.random.key(1))
    assert np.isnan(found["mse"][0])
    assert np.nanmax(found["mse"]) == 0
    assert found["psnr"][1] == np.inf


def test_the_log_likelihood_is_that_of_a_mixture_over_draws():
    """Two draws, by hand: a Gaussian a pixel, of the deviation of the noise or the least one, revealed pixels exact."""
    draws = np.stack([np.full_like(TRUTH, 0.4), np.full_like(TRUTH, 0.55)])
    noise = fit_noise(lambda images, masks, key: draws[:1], TRUTH, np.zeros_like(MASKS), jax.random.key(0))
    deviation = np.sqrt(np.mean((TRUTH - 0.4) ** 2))
    found = score(lambda images, masks, key: draws[:, : len(images)], noise, TRUTH, MASKS, jax.random.key(1))
    densities = np.where(
        MASKS, stats.norm.logpdf(0, 0, 0.01), stats.norm.logpdf(TRUTH, draws, deviation)
    ).sum((2, 3, 4))
    expected = np.log(np.exp(densities - densities.max(0)).mean(0)) + densities.max(0)
    np.testing.assert_allclose(found["log_likelihood"], expected, rtol=1e-5)


def test_no_pixel_is_surer_than_the_least_deviation_allows():
    found = score(lambda images, masks, key: images[None], NO_NOISE, TRUTH, MASKS, jax.random.key(1))
    np.testing.assert_allclose(found["log_likelihood"], 90 * stats.norm.logpdf(0, 0, 0.01), rtol=1e-5)
