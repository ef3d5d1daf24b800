"""Predictors without a z, against closed forms and brute force."""

import numpy as np
import pytest

from mtvae_jax.judging.rivals import RIVALS, LinearGaussian, MeanImage, NearestImage

GENERATOR = np.random.default_rng(0)
TRAIN = GENERATOR.integers(0, 256, (300, 4, 3, 2)).astype(np.uint8)
IMAGES = GENERATOR.uniform(size=(7, 4, 3, 2)).astype(np.float32)


def masks_of(count, num=7):
    masks = np.zeros((num, 12), bool)
    for mask in masks:
        mask[GENERATOR.permutation(12)[:count]] = True
    return masks.reshape(num, 4, 3, 1)


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("count", [0, 5, 12])
def test_hidden_pixels_are_not_looked_at(name, count):
    masks, rival = masks_of(count), RIVALS[name](TRAIN)
    other = np.where(masks, IMAGES, np.float32(0.77))
    np.testing.assert_array_equal(rival(IMAGES, masks), rival(other, masks))
    assert rival(IMAGES, masks).shape == IMAGES.shape


def test_the_mean_image_is_the_mean():
    np.testing.assert_allclose(MeanImage(TRAIN)(IMAGES, masks_of(3))[2], TRAIN.mean(0) / 255, rtol=1e-6)


def test_the_nearest_image_is_that_of_brute_force():
    masks = masks_of(4)
    found = NearestImage(TRAIN)(IMAGES, masks)
    for image, mask, nearest in zip(IMAGES, masks, found, strict=True):
        distances = [np.sum(mask * (image - train / 255) ** 2) for train in TRAIN]
        np.testing.assert_allclose(nearest, TRAIN[np.argmin(distances)] / 255, rtol=1e-6)


@pytest.mark.parametrize("same", [False, True])
def test_the_linear_predictor_is_ridge_regression_on_the_revealed_pixels(same):
    """Least squares of every pixel on the revealed ones, with the penalty that stands for the ridge of the variance."""
    masks = np.repeat(masks_of(4, 1), 7, axis=0) if same else masks_of(4)
    flat = TRAIN.reshape(300, -1) / 255
    found = LinearGaussian(TRAIN)(IMAGES, masks).reshape(7, -1)
    for image, mask, predicted in zip(IMAGES.reshape(7, -1), masks, found, strict=True):
        known = np.repeat(mask.reshape(-1), 2)
        inputs, targets = flat[:, known] - flat[:, known].mean(0), flat - flat.mean(0)
        penalty = 1e-4 * len(flat) * np.eye(known.sum())
        weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)
        expected = flat.mean(0) + (image[known] - flat[:, known].mean(0)) @ weights
        np.testing.assert_allclose(predicted, np.clip(expected, 0, 1), atol=1e-5)


def test_the_linear_predictor_of_pixels_that_depend_linearly_is_exact():
    first = GENERATOR.integers(20, 200, (500, 1, 1, 1))
    train = np.concatenate([first, first // 2 + 10], axis=2).astype(np.uint8)
    mask = np.array([True, False]).reshape(1, 1, 2, 1)
    image = np.array([100, 0], np.float32).reshape(1, 1, 2, 1) / 255
    assert LinearGaussian(train)(image, mask)[0, 0, 1, 0] == pytest.approx(60 / 255, abs=2e-3)
