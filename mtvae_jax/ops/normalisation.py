"""Batch normalisation (Ioffe & Szegedy 2015) and the activation behind it as one function.

With n the features of a channel in the batch, x̂ = (x − mean) / √(variance + ε) and y = leaky(scale · x̂ + bias):

    ∂x = scale / √(variance + ε) · (g − Σg / n − x̂ · Σ(g · x̂) / n),      g = leaky′ · ∂y

so the gradient takes the input alone. Derived by JAX it would keep and pass over several maps of its size. Everywhere
scale · x̂ + bias is a multiple of x plus an offset: an x − mean on its own would be written to memory and read again.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5


def normalise(x, mean, variance, scale, bias, *, slope=1.0):
    """leaky(scale · (x − mean) / √(variance + ε) + bias), the activation's slope below zero being `slope`.

    **Arguments:** `x`: float [..., C]; `mean`, `variance`, `scale`, `bias`: float32 [C]; `slope`: 1 for no activation.
    **Returns:** [..., C] of x's dtype, computed in at least float32.
    """
    before = _before_activation(_widened(x), mean, lax.rsqrt(variance + EPSILON), scale, bias)
    return _leaky(before, before, slope).astype(x.dtype)


def batch_norm(x, scale, bias, *, slope=1.0, axis_name=None):
    """`normalise` by the statistics of the batch itself. Differentiable once, in reverse mode.

    **Arguments:** as `normalise`; `axis_name`: of a mapped axis whose devices share the batch, None where one has all.
    **Returns:** [..., C] of x's dtype, and the mean and the (biased) variance, [C] of at least float32, through which
    no gradient flows.
    """
    return _batch_norm(x, scale, bias, slope, axis_name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _batch_norm(x, scale, bias, slope, axis_name):
    outputs, _ = _forward(x, scale, bias, slope, axis_name)
    return outputs


def _forward(x, scale, bias, slope, axis_name):
    features = _widened(x)
    axes = tuple(range(x.ndim - 1))
    mean, mean_square = _mean_over((jnp.mean(features, axes), jnp.mean(features**2, axes)), axis_name)
    variance = jnp.maximum(mean_square - mean**2, 0.0)
    y = normalise(x, mean, variance, scale, bias, slope=slope)
    return (y, mean, variance), (x, mean, lax.rsqrt(variance + EPSILON), scale, bias)


def _backward(slope, axis_name, saved, gradients):
    x, mean, inverse, scale, bias = saved
    gradient, _, _ = gradients
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    features = _widened(x)
    g = _leaky(_widened(gradient), _before_activation(features, mean, inverse, scale, bias), slope)
    to_bias = jnp.sum(g, axes)
    to_scale = (jnp.sum(g * features, axes) - mean * to_bias) * inverse  # Σ(g · x̂)
    through_mean, through_variance = _mean_over((to_bias / count, to_scale / count), axis_name)
    multiple = scale * inverse
    slant = multiple * inverse * through_variance
    to_x = multiple * g - slant * features + (slant * mean - multiple * through_mean)
    return to_x.astype(x.dtype), to_scale.astype(scale.dtype), to_bias.astype(bias.dtype)


_batch_norm.defvjp(_forward, _backward)


def _before_activation(features, mean, inverse, scale, bias):
    multiple = inverse * scale
    return features * multiple + (bias - mean * multiple)


def _widened(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _leaky(values, before, slope):
    """`values` as they are where the activation's input is not negative, else times its slope."""
    return jnp.where(before >= 0, values, slope * values)


def _mean_over(values, axis_name):
    return values if axis_name is None else lax.pmean(values, axis_name)
