"""Batch normalisation with its activation: values and gradients against numpy in float64, and against Flax's module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mtvae_jax.ops import normalisation
from mtvae_jax.ops.backend import GPU, PROCESSOR
from mtvae_jax.ops.normalisation import EPSILON, batch_norm, normalise

SLOPES = [0.01, 1.0]


@pytest.fixture(params=[PROCESSOR, GPU], ids=["processor", "gpu"], scope="module", autouse=True)
def _by_both_ways(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalisation, "backend", lambda: request.param)
        yield


def reference(x, scale, bias, slope):
    """y, mean and variance, by the definition."""
    x, scale, bias = (np.asarray(a, np.float64) for a in (x, scale, bias))
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    before = scale * (x - mean) / np.sqrt(variance + EPSILON) + bias
    return np.where(before >= 0, before, slope * before), mean, variance


def operands(seed, shape, offset=0.0, spread=1.0):
    rng = np.random.default_rng(seed)
    channels = shape[-1:]
    x = offset + spread * rng.normal(size=shape)
    scale, bias, weights = rng.normal(size=channels), rng.normal(size=channels), rng.normal(size=shape)
    return [np.float32(a) for a in (x, scale, bias, weights)]


@settings(deadline=None)  # compiles
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(2, 6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)),
    offset=st.sampled_from([0.0, 3.0, -10.0]),
    slope=st.sampled_from(SLOPES),
)
def test_values_and_statistics_are_those_of_the_definition(seed, shape, offset, slope):
    x, scale, bias, _ = operands(seed, shape, offset)
    got, want = batch_norm(x, scale, bias, slope=slope), reference(x, scale, bias, slope)
    _, mean, variance = want
    assume(np.all(variance > 1e-2 * mean**2))  # a mean of squares minus a square rounds away what is smaller
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(normalise(x, *got[1:], scale, bias, slope=slope), got[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("shape", [(12, 3), (4, 3, 3, 2), (5, 2, 1, 4)])
def test_every_gradient_is_the_difference_quotient(shape, slope):
    """Of a weighted sum of the outputs, by central differences in float64."""
    *operand, weights = operands(1, shape)
    got = jax.grad(lambda *a: jnp.sum(weights * batch_norm(*a, slope=slope)[0]), argnums=(0, 1, 2))(*operand)
    step = 1e-6
    for place, gradient in enumerate(got):
        want = np.zeros(gradient.shape)
        for index in np.ndindex(*gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = [np.float64(a) for a in operand]
                moved[place][index] += sign * step
                ends.append(np.sum(weights * reference(*moved, slope)[0]))
            want[index] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient, want, rtol=1e-3, atol=1e-4)


def test_as_flax_has_it_with_gradients_where_the_mean_is_far_from_zero():
    x, scale, bias, weights = operands(2, (16, 7, 7, 8), offset=5.0, spread=0.5)
    module = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=EPSILON)
    stats = {"mean": jnp.zeros(8), "var": jnp.ones(8)}

    def flax(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
        y, _ = module.apply(variables, x, mutable=["batch_stats"])
        return jnp.sum(weights * nn.leaky_relu(y))

    def ours(x, scale, bias):
        return jnp.sum(weights * batch_norm(x, scale, bias, slope=0.01)[0])

    want, got = (jax.value_and_grad(f, argnums=(0, 1, 2))(x, scale, bias) for f in (flax, ours))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_a_batch_shared_by_a_mapped_axis_is_one_batch():
    """Statistics and gradients of two halves, under vmap, whose means over the axis are those of devices."""
    x, scale, bias, weights = operands(3, (8, 3, 3, 4))

    def loss(x, weights, axis_name):
        y, mean, variance = batch_norm(x, scale, bias, slope=0.01, axis_name=axis_name)
        return jnp.sum(weights * y), (mean, variance)

    gradient = jax.grad(loss, has_aux=True)
    halves = [a.reshape(2, 4, *a.shape[1:]) for a in (x, weights)]
    got, (mean, variance) = jax.vmap(lambda *half: gradient(*half, "batch"), axis_name="batch")(*halves)
    want, (whole_mean, whole_variance) = gradient(x, weights, None)
    np.testing.assert_allclose(got.reshape(x.shape), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, [whole_mean] * 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, [whole_variance] * 2, rtol=1e-5, atol=1e-6)


def test_bfloat16_keeps_its_dtype_and_is_normalised_in_float32():
    x, scale, bias, weights = operands(4, (600, 2), offset=1.0)
    low = jnp.asarray(x, jnp.bfloat16)
    (y, mean, variance), pull_back = jax.vjp(lambda x: batch_norm(x, scale, bias, slope=0.01), low)
    (gradient,) = pull_back((jnp.asarray(weights, jnp.bfloat16), jnp.zeros(2), jnp.zeros(2)))
    assert y.dtype == gradient.dtype == jnp.bfloat16
    assert mean.dtype == variance.dtype == jnp.float32
    want = reference(np.asarray(low, np.float64), scale, bias, 0.01)
    np.testing.assert_allclose(mean, want[1], rtol=1e-5)  # a sum in bfloat16 stops growing at 256
    np.testing.assert_allclose(np.asarray(y, np.float32), want[0], rtol=1e-2, atol=1e-2)
