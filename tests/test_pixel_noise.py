"""Pixel noise: predictions with it look like what was observed where the predictions were alike."""

import numpy as np
import pytest

from mtvae_jax.pixel_noise import PixelNoise


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
