"""Pixel noise: predictions with it look like what was observed where the predictions were alike."""

import numpy as np
import pytest

from mtvae_jax.judging.pixel_noise import PixelNoise


def held_out(seed, size=200_000):
    """Predictions whose errors grow with the predicted intensity; a third of the pixels are black for certain."""
    generator = np.random.default_rng(seed)
    predicted = generator.uniform(0.0, 0.9, size)
    predicted[: size // 3] = 0.0
    truth = np.clip(predicted + 0.2 * predicted * generator.standard_normal(size), 0.0, 1.0)
    return predicted, truth


def test_noise_is_as_large_as_the_errors_of_predictions_alike():
    noise = PixelNoise(*held_out(0))
    generator = np.random.default_rng(1)
    for predicted in (0.2, 0.5):
        drawn = noise(np.full(20_000, predicted), generator)
        assert drawn.mean() == pytest.approx(predicted, abs=0.01)
        assert drawn.std() == pytest.approx(0.2 * predicted, rel=0.1)


def test_a_pixel_that_was_always_right_gets_no_noise():
    noise = PixelNoise(*held_out(0))
    np.testing.assert_array_equal(noise(np.zeros((3, 1000)), np.random.default_rng(1)), 0.0)


def drawn_residuals(noise, predicted, size=2000):
    drawn = np.float64(noise(np.full(size, predicted), np.random.default_rng(1))) - predicted
    return set(np.round(drawn, 5).tolist())


@pytest.mark.parametrize("sizes", [(990, 6000), (6000, 990), (100, 10_000), (5, 5, 5), (3000, 110, 99, 3000), (1, 1)])
def test_noise_of_a_value_that_was_often_predicted_is_of_that_value_alone(sizes):
    values = np.linspace(0.1, 0.6, len(sizes))
    residuals = np.linspace(0.02, 0.3, len(sizes))
    predicted, residual = np.repeat(values, sizes), np.repeat(residuals, sizes)
    order = np.random.default_rng(0).permutation(len(predicted))
    noise = PixelNoise(np.float32(predicted[order]), np.float32((predicted + residual)[order]))
    for value, expected, size in zip(values, residuals, sizes, strict=True):
        if size * 64 >= sum(sizes):
            assert drawn_residuals(noise, value) == {np.round(expected, 5)}


def test_noise_is_that_of_the_nearest_predictions():
    predicted = np.repeat([0.1, 0.5], [990, 6000])
    noise = PixelNoise(predicted, predicted + np.where(predicted < 0.3, 0.1, -0.05))
    for asked, residual in [(0.0, 0.1), (0.29, 0.1), (0.31, -0.05), (0.9, -0.05)]:
        assert drawn_residuals(noise, asked) == {residual}


def test_intervals_of_noisy_predictions_hold_their_share_of_truths():
    noise = PixelNoise(*held_out(0))
    predicted, truth = held_out(2, 20_000)
    drawn = noise(np.broadcast_to(predicted, (99, len(predicted))), np.random.default_rng(3))
    inside = (np.quantile(drawn, 0.1, axis=0) <= truth) & (truth <= np.quantile(drawn, 0.9, axis=0))
    assert inside[predicted > 0].mean() == pytest.approx(0.8, abs=0.03)


def test_observed_intensities_stay_in_range_and_in_shape():
    noise = PixelNoise(np.linspace(0, 1, 500), np.linspace(0, 1, 500)[::-1])
    drawn = noise(np.random.default_rng(0).uniform(size=(2, 5, 4, 4, 3)), np.random.default_rng(1))
    assert drawn.shape == (2, 5, 4, 4, 3)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1
