"""Greedy choice of pixels, against the closed form under a Gaussian in NumPy float64."""

import jax
import numpy as np
import pytest

from mtvae_jax.trained.acquisition import LINEAR_SHARE, greedy_pixels

H, W = 4, 3


def ensemble(covariance, channels):
    """Draws [S, 1, H, W, C] whose empirical covariance is the one given, exactly."""
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(covariance)))
    both = np.concatenate([root.T, -root.T])  # the mean is 0
    return (both * np.sqrt((len(both) - 1) / 2)).reshape(len(both), 1, H, W, channels) + 0.3


def covariance_of(seed, size):
    generator = np.random.default_rng(seed)
    factors = generator.normal(size=(size, 5)) * generator.uniform(0.2, 2, (size, 1))
    return factors @ factors.T + 0.05 * np.eye(size)


def greedy(covariance, known, channels, num, noise):
    """Pixel by pixel with the whole covariance, each candidate tried."""
    chosen, covariance = [], covariance.copy()

    def after(pixel):
        block = covariance[:, pixel * channels : (pixel + 1) * channels]
        inner = block[pixel * channels : (pixel + 1) * channels] + noise * np.eye(channels)
        return covariance - block @ np.linalg.solve(inner, block.T)

    for _ in range(num):
        left = [p for p in range(len(covariance) // channels) if p not in known and p not in chosen]
        best = min(left, key=lambda pixel: np.trace(after(pixel)))
        covariance = after(best)
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_choice_is_the_one_of_the_closed_form(channels, seed):
    covariance = covariance_of(seed, H * W * channels)
    mask = np.zeros((1, H, W, 1), bool)
    mask[0, 1, 2] = mask[0, 0, 0] = True
    found = greedy_pixels(ensemble(covariance, channels), mask, 6, 0.1)
    expected = greedy(covariance, {1 * W + 2, 0}, channels, 6, 0.1)
    np.testing.assert_array_equal(found[0] @ np.array([W, 1]), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_factor_analysis_has_its_share_of_the_covariance(channels):
    size = H * W * channels
    drawn = covariance_of(5, size)
    root = np.random.default_rng(6).normal(size=(4, size))
    mask = np.zeros((2, H, W, 1), bool)
    draws = np.concatenate([ensemble(drawn, channels)] * 2, axis=1)
    found = greedy_pixels(draws, mask, 6, 0.1, np.stack([root, np.zeros_like(root)]))
    both = (1 - LINEAR_SHARE) * drawn + LINEAR_SHARE * root.T @ root
    expected = [greedy(covariance, set(), channels, 6, 0.1) for covariance in (both, (1 - LINEAR_SHARE) * drawn)]
    np.testing.assert_array_equal(found @ np.array([W, 1]), expected)
    assert expected[0] != expected[1]


def test_no_pixel_is_chosen_twice_even_where_nothing_varies():
    mask = np.zeros((2, H, W, 1), bool)
    mask[:, 0] = True
    found = np.asarray(greedy_pixels(np.full((3, 2, H, W, 1), 0.5), mask, H * W - W, 0.01))
    for pixels in found:
        assert len({tuple(pixel) for pixel in pixels}) == H * W - W
        assert pixels[:, 0].min() == 1


def test_one_of_two_copies_is_enough():
    """Once a pixel is known, its copy says nothing more: an independent one is chosen before it."""
    generator = np.random.default_rng(0)
    draws = np.zeros((200, 1, H, W, 1))
    draws[:, 0, 0, 0, 0] = draws[:, 0, 0, 1, 0] = generator.normal(0, 1, 200)
    draws[:, 0, 3, 2, 0] = generator.normal(0, 0.7, 200)
    found = np.asarray(greedy_pixels(draws, np.zeros((1, H, W, 1), bool), 2, 1e-3))[0]
    assert {tuple(pixel) for pixel in found} == {(0, 0), (3, 2)}


def test_images_are_chosen_for_one_by_one():
    draws = jax.random.normal(jax.random.key(0), (16, 3, H, W, 1))
    mask = np.zeros((3, H, W, 1), bool)
    together = greedy_pixels(draws, mask, 4, 0.1)
    for image in range(3):
        alone = greedy_pixels(draws[:, image : image + 1], mask[:1], 4, 0.1)
        np.testing.assert_array_equal(alone[0], together[image])
