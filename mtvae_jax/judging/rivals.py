"""Predictors of hidden pixels that know no z: what a model has to be better than.

A rival is called with images float [N, H, W, C], of which it looks at the revealed pixels alone, and masks bool
[N, H, W, 1], and returns its prediction of all pixels, float32 [N, H, W, C].
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

_IMAGES_AT_ONCE = 500
_TRAINING_IMAGES_AT_ONCE = 10_000

# Variance that is added to each pixel: one that is black in all training images has none, and a pixel of eight bits is
# never known better than to a level, 1/255² ≈ 1.5e-5.
_RIDGE = 1e-4


class MeanImage:
    """Predicts the mean of the training images, uint8 [N, H, W, C]."""

    def __init__(self, train):
        self._mean = np.float32(train.mean(0, dtype=np.float64) / 255)

    def __call__(self, images, masks):
        return np.broadcast_to(self._mean, images.shape)


class NearestImage:
    """Predicts the training image whose pixels come nearest to the revealed ones in squared distance.

    Of images that are equally near, as all are where nothing is revealed, the first.

    **Arguments:** `train`: uint8 [T, H, W, C].
    """

    def __init__(self, train):
        self._train = train

    def __call__(self, images, masks):
        parts = [slice(start, start + _IMAGES_AT_ONCE) for start in range(0, len(images), _IMAGES_AT_ONCE)]
        return np.concatenate([self._nearest(images[part], masks[part]) for part in parts])

    def _nearest(self, images, masks):
        known = np.broadcast_to(masks, images.shape).reshape(len(images), -1).astype(np.float32)
        wanted = known * images.reshape(len(images), -1)
        best, found = np.full(len(images), np.inf), np.zeros(len(images), int)
        for start in range(0, len(self._train), _TRAINING_IMAGES_AT_ONCE):
            some = self._train[start : start + _TRAINING_IMAGES_AT_ONCE].reshape(-1, known.shape[1]) / np.float32(255)
            distances = known @ (some**2).T - 2 * wanted @ some.T  # but for what all have in common
            place = distances.argmin(1)
            distance = distances[np.arange(len(images)), place]
            nearer = distance < best
            best[nearer], found[nearer] = distance[nearer], start + place[nearer]
        return self._train[found] / np.float32(255)


class LinearGaussian:
    """Predicts the conditional mean of hidden pixels under one Gaussian over all pixels: the best linear predictor.

    It is exact for every mask: μ_h + Σ_ho (Σ_oo + ridge · I)⁻¹ (x_o − μ_o), cut to [0, 1].

    **Arguments:** `train`: uint8 [T, H, W, C].
    """

    def __init__(self, train):
        mean, second, flat = 0.0, 0.0, train.reshape(len(train), -1)
        for start in range(0, len(flat), _TRAINING_IMAGES_AT_ONCE):
            some = flat[start : start + _TRAINING_IMAGES_AT_ONCE] / np.float64(255)
            mean, second = mean + some.sum(0) / len(flat), second + some.T @ some / len(flat)
        self._mean, self._covariance = mean, second - np.outer(mean, mean)

    def __call__(self, images, masks):
        known = np.broadcast_to(masks, images.shape).reshape(len(images), -1)
        deviations = images.reshape(len(images), -1) - self._mean
        same = len(known) > 1 and (known == known[0]).all()  # one system for all images
        groups = [(known[0], deviations)] if same else zip(known, deviations[:, None], strict=True)
        predicted = np.concatenate([self._predicted(*group) for group in groups])
        return np.clip(predicted, 0, 1).astype(np.float32).reshape(images.shape)

    def _predicted(self, known, deviations):
        covariance = self._covariance[np.ix_(known, known)] + _RIDGE * np.eye(known.sum())
        if not known.any():
            return np.broadcast_to(self._mean, deviations.shape)
        weights = cho_solve(cho_factor(covariance), deviations[:, known].T)
        return self._mean + (self._covariance[:, known] @ weights).T


# The ones that need no training beyond statistics of the training images, which they are made from.
RIVALS = {"mean": MeanImage, "nearest": NearestImage, "linear": LinearGaussian}
