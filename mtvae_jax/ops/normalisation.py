"""Batch normalisation (Ioffe & Szegedy 2015) and the activation behind it.

Here scale · (x − mean) / √(variance + ε) + bias is a multiple of x plus an offset: an x − mean on its own would be
written to memory and read again.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mtvae_jax.ops.backend import backend

EPSILON = 1e-5

# Two sums in so many parts are one kernel, and the few parts are put together by the kernel that needs the sums; XLA's
# own parts, more of them, take a second reduction and a third kernel. Of more numbers each part would take too long.
_PARTS, _MOST_SUMMANDS = 16, 16 * 2048


def normalise(x, mean, variance, scale, bias, *, slope=1.0):
    """Returns leaky(scale · (x − mean) / √(variance + ε) + bias), the activation's slope below zero being `slope`.

    **Arguments:** `x`: float [..., C]; `mean`, `variance`, `scale`, `bias`: float32 [C]; `slope`: 1 for no activation.
    **Returns:** [..., C] of x's dtype, computed in at least float32.
    """
    multiple = scale * lax.rsqrt(variance + EPSILON)
    before = _widened(x) * multiple + (bias - mean * multiple)
    return jnp.where(before >= 0, before, slope * before).astype(x.dtype)


def batch_norm(x, scale, bias, *, slope=1.0, axis_name=None):
    """Normalises by the statistics of the batch itself, and returns these too.

    **Arguments:** as `normalise`; `axis_name`: of a mapped axis whose devices share the batch, None where one has all.
    **Returns:** [..., C] of x's dtype, and the mean and the (biased) variance, [C] of at least float32.
    """
    if backend().sums_together:
        return _batch_norm(x, scale, bias, slope, axis_name)
    features = _widened(x)
    axes = tuple(range(x.ndim - 1))
    mean, mean_square = jnp.mean(features, axes), jnp.mean(features**2, axes)
    if axis_name is not None:
        mean, mean_square = lax.pmean((mean, mean_square), axis_name)
    variance = jnp.maximum(mean_square - mean**2, 0.0)
    return normalise(x, mean, variance, scale, bias, slope=slope), mean, variance


def _widened(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


# ------------------------------------------------------------------------------------------------------ in few kernels
# With n the features of a channel in the batch, x̂ = (x − mean) / √(variance + ε) and y = leaky(scale · x̂ + bias):
#
#     ∂x = scale / √(variance + ε) · (g − Σg / n − x̂ · Σ(g · x̂) / n),      g = leaky′ · ∂y
#
# so the gradient takes the input alone, and two sums that are one reduction, as those of the forward pass are. Derived
# by JAX every sum is a reduction of its own. Differentiable once, in reverse mode, not through mean and variance.


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _batch_norm(x, scale, bias, slope, axis_name):
    return _forward(x, scale, bias, slope, axis_name)[0]


def _forward(x, scale, bias, slope, axis_name):
    features, count = _widened(x), x.size // x.shape[-1]
    total, squares = _sums(features, features**2)
    mean, mean_square = _mean_over((total / count, squares / count), axis_name)
    variance = jnp.maximum(mean_square - mean**2, 0.0)
    y = normalise(x, mean, variance, scale, bias, slope=slope)
    return (y, mean, variance), (x, mean, lax.rsqrt(variance + EPSILON), scale, bias)


def _backward(slope, axis_name, saved, gradients):
    x, mean, inverse, scale, bias = saved
    features, gradient, count = _widened(x), _widened(gradients[0]), x.size // x.shape[-1]
    multiple = scale * inverse
    before = features * multiple + (bias - mean * multiple)
    g = jnp.where(before >= 0, gradient, slope * gradient)
    to_bias, with_features = _sums(g, g * features)
    to_scale = (with_features - mean * to_bias) * inverse  # Σ(g · x̂)
    through_mean, through_variance = _mean_over((to_bias / count, to_scale / count), axis_name)
    slant = multiple * inverse * through_variance
    to_x = multiple * g - slant * features + (slant * mean - multiple * through_mean)
    return to_x.astype(x.dtype), to_scale.astype(scale.dtype), to_bias.astype(bias.dtype)


_batch_norm.defvjp(_forward, _backward)


def _sums(a, b):
    """Σa and Σb over all axes but the last."""
    a, b = (array.reshape(-1, array.shape[-1]) for array in (a, b))
    parts = _PARTS if len(a) % _PARTS == 0 and len(a) <= _MOST_SUMMANDS else 1
    a, b = (array.reshape(parts, -1, array.shape[-1]) for array in (a, b))
    zero = jnp.zeros((), a.dtype)
    a, b = lax.reduce((a, b), (zero, zero), lambda x, y: (x[0] + y[0], x[1] + y[1]), (1,))
    return _total(a), _total(b)


def _total(parts):
    """Their sum, by additions of two: a reduction would be a kernel of its own."""
    parts = list(parts)
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _mean_over(values, axis_name):
    return values if axis_name is None else lax.pmean(values, axis_name)
