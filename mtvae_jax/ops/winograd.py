"""Convolutions of stride 1 by fewer multiplications than outputs × taps (Winograd 1980; Lavin & Gray 2016, section 4).

Of a line, m outputs of a filter with r taps, y[i] = Σₖ g[k] x[i + k], take m + r − 1 multiplications instead of m · r:

    y = A ((G g) ∘ (B x))

G evaluates the filter as a polynomial at m + r − 1 points, Aᵀ a polynomial of m coefficients, and Bᵀ interpolates: the
transpose of the product of polynomials by Toom and Cook. A longer line is cut into pieces of m outputs, and what lies
beyond the image is left out of B, so that padding costs nothing. Along both axes of images, and summed over their
channels, there is a product of matrices for each pair of points p, q:

    features = (A ⊗ A) Y,    Y[p, q] = X[p, q] K[p, q],    X = (B ⊗ B) images,    K = (G ⊗ G) kernel

For a 3×3 kernel and 7×7 images that is 121 products, where their patches take 441.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Where the polynomials are evaluated, infinity aside. More of them, or others, cost digits: here float32 keeps six.
_POINTS = (0.0, 0.6, -0.6, 1.6, -1.6)

# XLA's batched products run on one core each. Two halves of the points run side by side.
_NUM_GROUPS = 2

MOST_TAPS = len(_POINTS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(images, kernel, padding):
    """The convolution of stride 1 that `mtvae_jax.ops.convolution.conv2d` is. Differentiable once, in reverse mode.

    **Arguments:** `images`: float [B, H, W, C]; `kernel`: [kh, kw, C, D] of the same dtype, at most `MOST_TAPS` long;
    `padding`: pixels ((top, bottom), (left, right)), negative to leave some out.
    **Returns:** [B, h, w, D] of the same dtype.
    """
    features, _ = _forward(images, kernel, padding)
    return features


def _forward(images, kernel, padding):
    rows, columns = _lines(images.shape[1:3], kernel.shape, padding)
    images = images.transpose(1, 2, 0, 3)
    transformed = [_to_points(row.images, columns.images, images) for row in rows]
    kernels = [_to_points(row.kernel, columns.kernel, kernel) for row in rows]
    products = [_product(x, k, (3, 2)) for x, k in zip(transformed, kernels, strict=True)]
    features = sum(
        _from_points(row.features, columns.features, product) for row, product in zip(rows, products, strict=True)
    )
    return features.transpose(2, 0, 1, 3), (transformed, kernels, kernel)


def _backward(padding, saved, gradient):
    transformed, kernels, kernel = saved
    image_size = [
        size + taps - 1 - sum(pair)
        for size, taps, pair in zip(gradient.shape[1:3], kernel.shape[:2], padding, strict=True)
    ]
    rows, columns = _lines(image_size, kernel.shape, padding)
    gradient = gradient.transpose(1, 2, 0, 3)
    gradients = [_to_points(row.features.T, columns.features.T, gradient) for row in rows]
    images = sum(
        _from_points(row.images.T, columns.images.T, _product(g, k, (3, 3)))
        for row, g, k in zip(rows, gradients, kernels, strict=True)
    )
    kernel = sum(
        _from_points(row.kernel.T, columns.kernel.T, _kernel_product(x, g))
        for row, x, g in zip(rows, transformed, gradients, strict=True)
    )
    return images.transpose(2, 0, 1, 3), kernel


conv.defvjp(_forward, _backward)


def _product(a, b, contracted):
    """[P, Q, …] and [P, Q, …] → [P, Q, …], a product of matrices for each p, q, summed over one axis of each."""
    first, second = contracted
    return lax.dot_general(a, b, (((first,), (second,)), ((0, 1), (0, 1))))


def _kernel_product(images, gradient):
    """[P, Q, B, C] and [P, Q, B, D] → [P, Q, C, D].

    The first operand, let it be the narrower one, is turned behind the back of XLA, which would see a product for Eigen
    and run it ahead of all that is waited for. Products of upright matrices are left to whichever core is idle.
    """
    in_order = images.shape[3] <= gradient.shape[3]
    first, second = (images, gradient) if in_order else (gradient, images)
    product = _product(lax.optimization_barrier(first.swapaxes(2, 3)), second, (3, 2))
    return product if in_order else lax.optimization_barrier(product).swapaxes(2, 3)


def _to_points(rows, columns, x):
    """(rows ⊗ columns) x: [P, H], [Q, W], [H, W, …] → [P, Q, …]."""
    (num_rows, height), (num_columns, width) = rows.shape, columns.shape
    lines = jnp.asarray(rows, x.dtype) @ x.reshape(height, -1)
    columns = jnp.broadcast_to(jnp.asarray(columns, x.dtype), (num_rows, num_columns, width))
    return (columns @ lines.reshape(num_rows, width, -1)).reshape(num_rows, num_columns, *x.shape[2:])


def _from_points(rows, columns, x):
    """(rows ⊗ columns) x: [H, P], [W, Q], [P, Q, …] → [H, W, …], the columns first, so that most is done for few."""
    (height, num_rows), (width, num_columns) = rows.shape, columns.shape
    columns = jnp.broadcast_to(jnp.asarray(columns, x.dtype), (num_rows, width, num_columns))
    lines = columns @ x.reshape(num_rows, num_columns, -1)
    return (jnp.asarray(rows, x.dtype) @ lines.reshape(num_rows, -1)).reshape(height, width, *x.shape[2:])


class _Line(NamedTuple):
    """The matrices of y = A ((G g) ∘ (B x)) for P points, or some of them; float64."""

    features: np.ndarray  # A [outputs, P]
    kernel: np.ndarray  # G [P, taps]
    images: np.ndarray  # B [P, pixels]


def _lines(image_size, kernel_shape, padding):
    """`_Line`s of groups of points of the rows, and the `_Line` of the columns."""
    rows, columns = (
        _line(size, taps, *pair) for size, taps, pair in zip(image_size, kernel_shape[:2], padding, strict=True)
    )
    num_points = len(rows.kernel)
    groups = np.array_split(np.arange(num_points), min(_NUM_GROUPS, num_points))
    return [_Line(rows.features[:, group], rows.kernel[group], rows.images[group]) for group in groups], columns


@functools.cache
def _line(size, taps, before, after):
    outputs = size + before + after - taps + 1
    num_pieces = -(-outputs // (len(_POINTS) + 2 - taps))
    pieces = [_piece(len(part), taps) for part in np.array_split(np.arange(outputs), num_pieces)]
    num_points = sum(len(piece.kernel) for piece in pieces)
    features, padded = np.zeros((outputs, num_points)), np.zeros((num_points, size + before + after))
    output = point = 0
    for piece in pieces:
        num_outputs, num_points = piece.features.shape
        features[output : output + num_outputs, point : point + num_points] = piece.features
        padded[point : point + num_points, output : output + num_points] = piece.images  # as many pixels as points
        output, point = output + num_outputs, point + num_points
    kernel = np.concatenate([piece.kernel for piece in pieces])
    pixels = np.arange(padded.shape[1]) - before
    inside = (pixels >= 0) & (pixels < size)
    images = np.zeros((len(padded), size))  # with pixels that no piece needs, where padding is negative
    images[:, pixels[inside]] = padded[:, inside]
    return _Line(features, kernel, images)


def _piece(outputs, taps):
    """The algorithm of Toom and Cook, transposed, for outputs + taps − 1 pixels and as many points."""
    num_points = outputs + taps - 1
    evaluate = [_evaluations(num_points, degree) for degree in (outputs, taps, num_points)]
    return _Line(evaluate[0].T, evaluate[1], np.linalg.inv(evaluate[2]).T)


def _evaluations(num_points, num_coefficients):
    """Values of a polynomial at the points, the last of which is infinity: [points, coefficients]."""
    finite = np.vander(_POINTS[: num_points - 1], num_coefficients, increasing=True)
    return np.vstack([finite, np.eye(num_coefficients)[-1]])
