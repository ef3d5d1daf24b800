"""How close distributions are: of images through their features, and of one pixel's draws through its true value."""

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.randomness import image_keys

# Distances are computed between this many points and all others at once: 80 MB against 10,000.
_ROWS_AT_ONCE = 1024


# --------------------------------------------------------------------------------- two sets of images, by features


def frechet_distance(features_a, features_b):
    """Returns the squared Fréchet distance of Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6):

        ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½),   Σ with divisor N − 1.

    It shrinks as N grows, even between samples of one distribution: compare figures of equal N and M only.

    **Arguments:** `features_a`: float [N, F]; `features_b`: float [M, F]. N and M may be smaller than F.
    **Returns:** float ≥ 0, computed in float64.
    **Raises:** `ValueError` for shapes that do not fit, fewer than two rows, and values that are not finite.
    """
    a, b = _feature_matrices(features_a, features_b)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    # With Σ = RᵀR the trace of (Σ_a Σ_b)^½ is the sum of the singular values of R_a R_bᵀ. Eigenvalues of Σ_a Σ_b would
    # need a square root, which turns rounding errors of 1e-16 into 1e-8 in every direction without variance.
    trace = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    mean_term = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return max(float(mean_term + np.sum(root_a**2) + np.sum(root_b**2) - 2 * trace), 0.0)


def precision_recall(real, generated, k=3):
    """Returns improved precision and recall (Kynkäänniemi et al. 2019, equation 2).

    A set of points stands for the union of balls around them, each reaching to the k-th nearest other point of the set.
    Precision is the share of generated points in the real union (quality), recall the share of real points in the
    generated union (variety). Both depend on the number of points: compare figures of equal N and M only, best N = M.

    **Arguments:** `real`: float [N, F]; `generated`: float [M, F]; `k`: int, less than N and M.
    **Returns:** (precision, recall), each a float in 0 … 1, computed in float64.
    **Raises:** `ValueError` for shapes that do not fit, `k` out of range, and values that are not finite.
    """
    real, generated = _feature_matrices(real, generated)
    if not 1 <= k < min(len(real), len(generated)):
        raise ValueError(f"k = {k}: must be at least 1 and less than the {len(real)} and {len(generated)} points")
    return _share_inside(generated, real, k), _share_inside(real, generated, k)


def _feature_matrices(*matrices):
    matrices = [np.asarray(matrix, np.float64) for matrix in matrices]
    shapes = [matrix.shape for matrix in matrices]
    if any(len(shape) != 2 or shape[0] < 2 or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"features {shapes[0]} and {shapes[1]}: must be [N, F] and [M, F], N and M at least 2")
    if not all(np.isfinite(matrix).all() for matrix in matrices):
        raise ValueError("features are not all finite")
    return matrices


def _covariance_root(features):
    """R [min(N, F), F] with RᵀR = Σ, straight from the data: forming Σ would square its condition number."""
    return np.linalg.qr(features - features.mean(axis=0), mode="r") / np.sqrt(len(features) - 1)


def _share_inside(points, centres, k):
    """The share of `points` that lie in the ball of at least one centre."""
    squared_radii = np.concatenate(
        [_kth_smallest(distances, k) for distances in _squared_distances(centres, centres, skip_same=True)]
    )
    inside = [(distances <= squared_radii).any(axis=1) for distances in _squared_distances(points, centres)]
    return float(np.concatenate(inside).mean())


def _kth_smallest(distances, k):
    return np.partition(distances, k - 1, axis=1)[:, k - 1]


def _squared_distances(rows, columns, skip_same=False):
    """Squared distances of all pairs, some rows at a time: yields float [R, len(columns)].

    With `skip_same` row i is infinitely far from column i.
    """
    squared_norms = np.sum(columns**2, axis=1)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        distances = np.sum(some**2, axis=1)[:, None] + squared_norms - 2 * some @ columns.T
        if skip_same:
            np.fill_diagonal(distances[:, start:], np.inf)
        yield distances


# ------------------------------------------------------------------- draws of a pixel, by the value that came true


def crps(draws, truth):
    """Returns the fair continuous ranked probability score of an ensemble (Ferro 2014, equation 4):

        mean_s |x_s − y| − ½ mean_{s≠t} |x_s − x_t|

    An unbiased estimate of the score of the distribution that the draws come from, whatever S: in expectation no
    other distribution than the true one scores lower. A single image may score below zero.

    **Arguments:** `draws`: float [S, N, …], S ≥ 2; `truth`: float [N, …].
    **Returns:** float [N, …], in the units of the intensities; the absolute error where all draws are equal.
    **Raises:** `ValueError` for shapes that do not fit, and for integers.
    """
    size = _ensemble_size(draws, truth)
    # Of all pairs, the i-th smallest draw is the greater one in i − 1 and the smaller one in S − i.
    weights = (2 * np.arange(1, size + 1) - size - 1) / (size * (size - 1))
    spread = jnp.tensordot(weights.astype(draws.dtype), jnp.sort(draws, axis=0), axes=1, precision="highest")
    return jnp.mean(jnp.abs(draws - truth), axis=0) - spread


def probability_integral_transform(draws, truth, key):
    """Returns the randomised rank of the truth among draws of 8-bit intensities (Czado et al. 2009, for ensembles):

        u = (number of draws below + V · (number of draws equal + 1)) / (S + 1),   V uniform in [0, 1)

    Exactly uniform where the truth could as well be one of the draws. It is randomised because intensities come in 256
    levels and many pixels are black for certain: without V those would pile up at one end, and every central interval
    would hold all of them, or none.

    **Arguments:** `draws`: float [S, N, …] and `truth`: float [N, …], rounded to k / 255 and clipped to [0, 1] before
    they are compared; `key`: typed key, or one an image, keys [N].
    **Returns:** float32 [N, …] in [0, 1].
    **Raises:** `ValueError` for shapes that do not fit, and for integers.
    """
    size = _ensemble_size(draws, truth)
    draws, truth = _levels(draws), _levels(truth)
    below, equal = jnp.sum(draws < truth, axis=0), jnp.sum(draws == truth, axis=0)
    keys = image_keys(key, len(truth)) if key.ndim == 0 else key
    v = jax.vmap(lambda key: jax.random.uniform(key, truth.shape[1:]))(keys)
    return (below + v * (equal + 1)) / (size + 1)


def coverage(u, level, where=None):
    """Returns the share of central intervals of probability `level` that hold the truth: `level`, if calibrated.

    **Arguments:** `u`: float [N, …], from `probability_integral_transform`, which says why it is randomised;
    `level`: 0 … 1; `where`: bool, broadcast to `u`, such as the hidden pixels; None for all.
    **Returns:** float scalar in 0 … 1, NaN where nothing is counted.
    """
    return jnp.mean(jnp.abs(u - 0.5) <= level / 2, where=where)


def _levels(intensities):
    return jnp.rint(jnp.clip(intensities, 0, 1) * 255).astype(jnp.uint8)


def _ensemble_size(draws, truth):
    if draws.shape[1:] != truth.shape or len(draws) < 2:
        raise ValueError(f"draws {draws.shape} of truth {truth.shape}: must be [S, *truth.shape], S at least 2")
    if not all(jnp.issubdtype(array.dtype, jnp.floating) for array in (draws, truth)):
        raise ValueError(f"draws of {draws.dtype}, truth of {truth.dtype}: must be floats in [0, 1]")
    return len(draws)
