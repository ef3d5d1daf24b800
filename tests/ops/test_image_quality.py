"""PSNR and SSIM against brute force in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtvae_jax.ops.image_quality import psnr, ssim


def brute_force_ssim(x, y, length):
    """SSIM of two images [H, W, C], window by window, straight from Wang et al. 2004."""
    axis = np.exp(-0.5 * ((np.arange(length) - length // 2) / 1.5) ** 2)
    window = np.outer(axis, axis) / np.outer(axis, axis).sum()
    values = []
    for c in range(x.shape[2]):
        for i in range(x.shape[0] - length + 1):
            for j in range(x.shape[1] - length + 1):
                a, b = x[i : i + length, j : j + length, c], y[i : i + length, j : j + length, c]
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                values.append(
                    (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
                    / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
                )
    return np.mean(values)


@pytest.mark.parametrize(("shape", "length"), [((16, 13, 3), 11), ((11, 11, 1), 11), ((8, 8, 1), 7)])
def test_ssim_against_brute_force(shape, length):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(2, *shape))
    y = np.clip(x + rng.normal(scale=0.2, size=x.shape), 0, 1)
    expected = [brute_force_ssim(a, b, length) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ssim(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-4)


def test_ssim_of_an_image_with_itself_is_one():
    x = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 28, 28, 1)))
    np.testing.assert_allclose(ssim(x, x), 1.0, rtol=1e-5)


def test_psnr_in_decibels():
    np.testing.assert_allclose(psnr(jnp.array([1.0, 0.1, 1e-3])), [0.0, 10.0, 30.0], atol=1e-5)
