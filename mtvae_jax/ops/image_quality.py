"""How close two images are, beside the mean squared error: PSNR and SSIM."""

import jax.numpy as jnp
import numpy as np

_WINDOW, _WINDOW_STD = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(mean_squared_error):
    """Returns the peak signal-to-noise ratio −10·log₁₀(MSE) of intensities in [0, 1].

    **Arguments:** `mean_squared_error`: float [B], per image. **Returns:** float [B], dB; infinite for equal images.
    """
    return -10.0 * jnp.log10(mean_squared_error)


def ssim(images, reconstruction):
    """Structural similarity (Wang et al. 2004) of intensities in [0, 1]: 11×11 window, σ = 1.5, K₁ = 0.01, K₂ = 0.03.

    Averaged over the positions where the window fits and over the channels. On a side shorter than 11 the window is cut
    to the longest odd length that fits.

    **Arguments:** `images`, `reconstruction`: float [B, H, W, C]. **Returns:** float32 [B], at most 1.
    """
    x, y = images.astype(jnp.float32), reconstruction.astype(jnp.float32)
    rows, columns = (jnp.asarray(_window_matrix(size)) for size in x.shape[1:3])

    # The window is separable: two banded matrix products, faster than a depthwise convolution.
    def local_mean(values):
        return jnp.einsum("ph,bhwc,qw->bpqc", rows, values, columns, precision="highest")

    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x, var_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _window_matrix(size):
    """Every position of the Gaussian window on a side of `size` pixels: float32 [positions, size], rows sum to 1."""
    length = min(_WINDOW, size if size % 2 else size - 1)
    weights = np.exp(-0.5 * ((np.arange(length) - length // 2) / _WINDOW_STD) ** 2)
    matrix = np.zeros((size - length + 1, size), np.float32)
    for position, row in enumerate(matrix):
        row[position : position + length] = weights / weights.sum()
    return matrix
