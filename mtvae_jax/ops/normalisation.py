"""Batch normalisation (Ioffe & Szegedy 2015) and the activation behind it.

Here scale · (x − mean) / √(variance + ε) + bias is a multiple of x plus an offset: an x − mean on its own would be
written to memory and read again.
"""

import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5


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
    features = _widened(x)
    axes = tuple(range(x.ndim - 1))
    mean, mean_square = jnp.mean(features, axes), jnp.mean(features**2, axes)
    if axis_name is not None:
        mean, mean_square = lax.pmean((mean, mean_square), axis_name)
    variance = jnp.maximum(mean_square - mean**2, 0.0)
    return normalise(x, mean, variance, scale, bias, slope=slope), mean, variance


def _widened(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
