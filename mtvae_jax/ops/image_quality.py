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
    """Returns the structural similarity (Wang et al. 2004) of intensities in [0, 1]: 11×11 window, σ = 1.5, K₁ = 0.01,
    K₂ = 0.03.

    Averaged over the positions where the window fits and over the channels. On a side shorter than 11 the window is cut
    to the longest odd length that fits.

    **Arguments:** `images`, `reconstruction`: float [B, H, W, C]. **Returns:** float32 [B], at most 1.
    """
    x, y = images.astype(jnp.float32), reconstruction.astype(jnp.float32)
    mean_x, mean_y, square_x, square_y, product = _local_means(jnp.stack([x, y, x * x, y * y, x * y]))
    var_x, var_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _local_means(maps):
    """Maps [5, B, H, W, C] → their means in every position of the window, in some order of the last three axes."""
    rows, columns = (jnp.asarray(_window_matrix(size)) for size in maps.shape[2:4])
    # The window is separable: two banded matrix products, faster than a depthwise convolution.
    if maps.shape[-1] > 1:
        return jnp.einsum("ph,nbhwc,qw->nbpqc", rows, maps, columns, precision="highest")
    # Of one channel they are plain ones, on CPUs three times as fast.
    across = jnp.matmul(maps[..., 0], columns.T, precision="highest")
    return jnp.matmul(across.swapaxes(-1, -2), rows.T, precision="highest")[..., None]


def _window_matrix(size):
    """Every position of the Gaussian window on a side of `size` pixels: float32 [positions, size], rows sum to 1."""
    length = min(_WINDOW, size if size % 2 else size - 1)
    weights = np.exp(-0.5 * ((np.arange(length) - length // 2) / _WINDOW_STD) ** 2)
    matrix = np.zeros((size - length + 1, size), np.float32)
    for position, row in enumerate(matrix):
        row[position : position + length] = weights / weights.sum()
    return matrix
