"""Winograd's convolutions against XLA's, sums in NumPy, and the number of multiplications that they are made for."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from mtvae_jax.ops import winograd
from mtvae_jax.ops.convolution import conv2d


def xla_conv(images, kernel, padding):
    return lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def operands(image_shape, kernel_shape, dtype=np.float32):
    """Images, and a kernel that keeps their variance."""
    random = np.random.default_rng(math.prod(image_shape))
    images, kernel = random.normal(size=image_shape), random.normal(size=kernel_shape)
    return images.astype(dtype), (kernel / math.sqrt(math.prod(kernel_shape[:3]))).astype(dtype)


def value_and_gradients(conv, images, kernel, padding):
    """Of the sum of squares."""
    value, pull_back = jax.vjp(lambda x, k: conv(x, k, padding), images, kernel)
    return value, *pull_back(value)


@st.composite
def lines(draw):
    taps = draw(st.integers(1, winograd.MOST_TAPS))
    before, after = draw(st.integers(-2, taps)), draw(st.integers(-2, taps))
    return draw(st.integers(max(1, taps - before - after), 20)), taps, before, after


@given(lines())
@settings(deadline=None)
def test_a_line_is_the_correlation_of_its_pixels_with_the_taps(case):
    size, taps, before, after = case
    random = np.random.default_rng(size)
    pixels, kernel = random.normal(size=size), random.normal(size=taps)
    line = winograd._line(size, taps, before, after)
    got = line.features @ ((line.kernel @ kernel) * (line.images @ pixels))
    seen = np.pad(pixels, taps + 2)[taps + 2 - before : taps + 2 + size + after]  # padding may be negative
    want = np.correlate(seen, kernel, "valid")
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@given(lines(), lines(), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_images_and_gradients_equal_xlas(rows, columns, channels, num_features):
    (height, kernel_height, *vertical), (width, kernel_width, *horizontal) = rows, columns
    padding = (tuple(vertical), tuple(horizontal))
    with jax.enable_x64(True):
        arrays = operands(
            (2, height, width, channels), (kernel_height, kernel_width, channels, num_features), np.float64
        )
        got, want = jax.jit(
            lambda *arrays: [value_and_gradients(conv, *arrays, padding) for conv in (winograd.conv, xla_conv)]
        )(*arrays)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [7, 8, 16])
@pytest.mark.parametrize("channels", [(64, 32), (32, 64)])
def test_float32_keeps_six_digits(size, channels):
    """Of values of variance 1, and of the gradients by their largest."""
    images, kernel = operands((16, size, size, channels[0]), (3, 3, *channels))
    padding = ((1, 1), (1, 1))
    got = value_and_gradients(winograd.conv, images, kernel, padding)
    with jax.enable_x64(True):
        exact = value_and_gradients(xla_conv, images.astype(np.float64), kernel.astype(np.float64), padding)
    assert np.std(np.asarray(got[0]) - np.asarray(exact[0])) < 2e-6
    for g, e in zip(got, exact, strict=True):
        assert g.dtype == jnp.float32
        assert np.abs(np.asarray(g) - np.asarray(e)).max() < 5e-6 * np.abs(np.asarray(e)).max()


@pytest.mark.parametrize(("size", "multiplications"), [(7, 121), (8, 144), (4, 36), (16, 576)])
def test_takes_as_few_multiplications_as_it_says(size, multiplications):
    """For every pair of channels, in each of the three products: of the images, their gradient and the kernel's."""
    batch, channels, num_features = 2, 5, 3
    jaxpr = jax.make_jaxpr(lambda x, k: value_and_gradients(winograd.conv, x, k, ((1, 1), (1, 1))))(
        jnp.ones((batch, size, size, channels)), jnp.ones((3, 3, channels, num_features))
    )
    counted = sum(
        math.prod(lhs[:2])
        for lhs, rhs in products(jaxpr.jaxpr)
        if len(lhs) == len(rhs) == 4  # a product of matrices for each pair of points
    )
    assert counted == 3 * multiplications


def products(jaxpr):
    """Shapes of the operands of all products, those of inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(operand.aval.shape for operand in equation.invars)
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from products(inner)


def test_vmap_scan_and_pmap_give_the_same():
    images, kernel = operands((4, 7, 7, 2), (3, 3, 2, 3))
    padding = ((1, 1), (1, 1))

    def gradient(images, conv=winograd.conv):
        return jax.grad(lambda kernel: jnp.sum(jnp.sin(conv(images, kernel, padding))))(kernel)

    both = jnp.stack([images, 2 * images])
    want = jnp.stack([gradient(images, xla_conv) for images in both])
    np.testing.assert_allclose(jax.jit(jax.vmap(gradient))(both), want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax.jit(lambda both: lax.map(gradient, both))(both), want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax.pmap(gradient)(both[:1]), want[:1], rtol=1e-4, atol=1e-4)


def test_is_what_cpus_run_where_it_pays(monkeypatch):
    def runs_winograd(size=7, channels=64, num_features=32, taps=3, stride=1, dtype=jnp.float32):
        called = []
        monkeypatch.setattr(winograd, "conv", lambda *arguments: called.append(arguments))
        images = jax.ShapeDtypeStruct((2, size, size, channels), dtype)
        kernel = jax.ShapeDtypeStruct((taps, taps, channels, num_features), dtype)
        try:
            jax.eval_shape(lambda x, k: conv2d(x, k, stride=stride), images, kernel)
        finally:
            monkeypatch.undo()
        return bool(called)

    assert runs_winograd()
    assert runs_winograd(size=16)
    assert not runs_winograd(size=17)
    assert not runs_winograd(channels=31)
    assert not runs_winograd(num_features=3)
    assert not runs_winograd(taps=1)
    assert not runs_winograd(stride=2)
    assert not runs_winograd(dtype=jnp.bfloat16)
