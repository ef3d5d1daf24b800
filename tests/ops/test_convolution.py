"""Convolutions against XLA's own, a loop in NumPy, and the definition of a transpose."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from mtvae_jax.ops import convolution
from mtvae_jax.ops.backend import PROCESSOR
from mtvae_jax.ops.convolution import conv2d, conv2d_transpose


@st.composite
def convolutions(draw):
    """(images, kernel, features, stride, padding) in float64, features of the shape that the convolution gives."""
    sizes = [draw(st.integers(1, 9)) for _ in range(2)]
    taps = [draw(st.integers(1, 5)) for _ in range(2)]
    batch, num_features = (draw(st.integers(1, 3)) for _ in range(2))
    channels = draw(st.integers(1, convolution._FEW_CHANNELS + 2))  # few are gathered in another way
    stride = draw(st.integers(1, 3))
    pair = st.tuples(st.integers(0, 3), st.integers(0, 3))
    padding = draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(pair, pair))
    assume(padding != "VALID" or all(size >= k for size, k in zip(sizes, taps, strict=True)))
    if not isinstance(padding, str):
        assume(all(size + sum(pair) >= k for size, k, pair in zip(sizes, taps, padding, strict=True)))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    images = random.normal(size=(batch, *sizes, channels))
    kernel = random.normal(size=(*taps, channels, num_features))
    shape = jax.eval_shape(lambda x, k: xla_conv(x, k, stride, padding), images, kernel).shape
    return images, kernel, random.normal(size=shape), stride, padding


def xla_conv(images, kernel, stride, padding):
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def loop_conv(images, kernel, stride, padding):
    """The definition, pixel by pixel; padding as pairs of pixels."""
    padded = np.pad(images, ((0, 0), *padding, (0, 0)))
    rows, columns = kernel.shape[:2]
    height, width = ((padded.shape[axis] - kernel.shape[axis - 1]) // stride + 1 for axis in (1, 2))
    features = np.zeros((len(images), height, width, kernel.shape[3]))
    for y in range(height):
        for x in range(width):
            window = padded[:, y * stride : y * stride + rows, x * stride : x * stride + columns]
            features[:, y, x] = np.einsum("brcC,rcCD->bD", window, kernel)
    return features


def assert_same_derivatives(oracle, ours, cotangent, *operands):
    """Values, and gradients of <value, cotangent>, in one compiled call for the oracle and our implementations."""

    def derivatives(function, cotangent, operands):
        value, pull_back = jax.vjp(function, *operands)
        return value, *pull_back(cotangent)

    functions = [oracle, *(functools.partial(ours, implementation=i) for i in ("matmul", "lax"))]
    want, *rest = jax.jit(lambda *args: [derivatives(f, *args) for f in functions])(cotangent, operands)
    for got in rest:
        assert_all_close(got, want)


def assert_all_close(got, want, tolerance=1e-10):
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)


@given(convolutions())
@settings(max_examples=25, deadline=None)
def test_convolution_and_gradients_equal_xlas(case):
    images, kernel, features, stride, padding = case
    with jax.enable_x64(True):
        assert_same_derivatives(
            lambda x, k: xla_conv(x, k, stride, padding),
            functools.partial(conv2d, stride=stride, padding=padding),
            features,
            images,
            kernel,
        )


@given(convolutions())
@settings(max_examples=25, deadline=None)
def test_transposed_convolution_and_gradients_equal_xlas_derivatives(case):
    """y ↦ ∂<conv(x), y>/∂x is the transpose."""
    images, kernel, features, stride, padding = case
    with jax.enable_x64(True):
        assert_same_derivatives(
            lambda y, k: jax.vjp(lambda x: xla_conv(x, k, stride, padding), images)[1](y)[0],
            functools.partial(conv2d_transpose, stride=stride, padding=padding, output_size=images.shape[1:3]),
            images,
            features,
            kernel,
        )


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("implementation", ["matmul", "lax"])
def test_convolution_equals_its_definition_and_its_transpose_the_scalar_product(stride, implementation):
    random = np.random.default_rng(stride)
    padding = ((1, 2), (0, 1))
    images, kernel = random.normal(size=(2, 5, 8, 3)), random.normal(size=(3, 2, 3, 4))
    with jax.enable_x64(True):
        settings = {"stride": stride, "padding": padding, "implementation": implementation}
        got = conv2d(jnp.asarray(images), jnp.asarray(kernel), **settings)
        np.testing.assert_allclose(got, loop_conv(images, kernel, stride, padding), rtol=1e-12, atol=1e-12)
        features = random.normal(size=got.shape)
        transposed = conv2d_transpose(jnp.asarray(features), jnp.asarray(kernel), output_size=(5, 8), **settings)
        np.testing.assert_allclose(jnp.vdot(got, features), jnp.vdot(images, transposed), rtol=1e-12)


def loss(images, features, kernel, implementation="matmul"):
    """A scalar in which a convolution and a transposed one take part."""
    down = conv2d(images, kernel, stride=2, implementation=implementation)
    up = conv2d_transpose(features, kernel, stride=2, output_size=images.shape[1:3], implementation=implementation)
    return jnp.sum(jnp.sin(down)) + jnp.sum(jnp.cos(up))


def operands(batch, dtype=jnp.float32):
    random = np.random.default_rng(batch)
    return tuple(jnp.asarray(random.normal(size=s), dtype) for s in ((batch, 6, 5, 2), (batch, 3, 3, 4), (3, 3, 2, 4)))


def test_matmul_lowers_to_no_convolution_and_lax_to_nothing_else():
    def lowered(implementation):
        gradient = jax.value_and_grad(lambda *args: loss(*args, implementation), argnums=(0, 1, 2))
        return jax.jit(gradient).lower(*operands(4)).as_text()

    assert "stablehlo.convolution" not in lowered("matmul")
    assert "stablehlo.dot_general" in lowered("matmul")
    assert "stablehlo.convolution" in lowered("lax")
    assert "stablehlo.dot_general" not in lowered("lax")


def test_the_default_is_matmul_on_a_cpu_and_lax_elsewhere(monkeypatch):
    def lowered():
        return jax.jit(lambda x, k: conv2d(x, k)).trace(jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 1))).jaxpr

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert "conv_general_dilated" not in str(lowered())
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in str(lowered())


def test_saves_no_patches_for_the_backward_pass():
    images, _, kernel = operands(3)
    _, pull_back = jax.vjp(lambda x, k: conv2d(x, k, implementation="matmul"), images, kernel)
    saved = sum(leaf.size for leaf in jax.tree.leaves(pull_back))
    assert saved <= images.size + kernel.size


def in_slices(monkeypatch, most_bytes):
    monkeypatch.setattr(convolution, "backend", lambda: PROCESSOR._replace(patch_bytes=most_bytes))


@pytest.mark.parametrize(("batch", "num_slices"), [(12, 4), (7, 7), (3, 1)])
def test_a_large_batch_in_slices_gives_the_same(monkeypatch, batch, num_slices):
    patches_of_an_image = 3 * 3 * (3 * 3 * 2) * 4  # bytes
    args = operands(batch)
    gradient = jax.value_and_grad(loss, argnums=(0, 1, 2))
    want = gradient(*args, "lax")
    in_slices(monkeypatch, 3 * patches_of_an_image)
    jaxpr = str(jax.make_jaxpr(lambda *args: gradient(*args))(*args))
    assert jaxpr.count(f"length={num_slices}") == (0 if num_slices == 1 else 6)  # three products of two convolutions
    assert_all_close(jax.tree.leaves(jax.jit(gradient)(*args)), jax.tree.leaves(want), 1e-4)


def test_vmap_scan_and_pmap_give_the_same(monkeypatch):
    in_slices(monkeypatch, 1)
    images, features, kernel = operands(4)
    gradient = jax.grad(loss, argnums=2)
    want = jnp.stack([gradient(images, features, kernel, "lax"), gradient(-images, features, kernel, "lax")])
    both = jnp.stack([images, -images])

    mapped = jax.jit(jax.vmap(lambda x: gradient(x, features, kernel)))(both)
    np.testing.assert_allclose(mapped, want, rtol=1e-4, atol=1e-4)
    _, scanned = jax.jit(lambda both: lax.scan(lambda _, x: (None, gradient(x, features, kernel)), None, both))(both)
    np.testing.assert_allclose(scanned, want, rtol=1e-4, atol=1e-4)
    parallel = jax.pmap(lambda x: lax.pmean(gradient(x, features, kernel), "batch"), axis_name="batch")(both[:1])
    np.testing.assert_allclose(parallel, want[:1], rtol=1e-4, atol=1e-4)


def test_bfloat16_is_summed_in_float32(monkeypatch):
    """Sums of 600 ones are exact, where bfloat16's own would stop growing at 256."""
    in_slices(monkeypatch, 1)  # one image a slice
    images, kernel = jnp.ones((600, 1, 1, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 600), jnp.bfloat16)
    conv = functools.partial(conv2d, implementation="matmul")
    features, pull_back = jax.vjp(conv, images, kernel)
    gradients = pull_back(jnp.ones_like(features))
    for got, value in zip((features, *gradients), (1, 600, 600), strict=True):
        assert got.dtype == jnp.bfloat16
        assert jnp.all(got == value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, k: conv2d(x, k, padding="FULL"), "'SAME', 'VALID' or"),
        (lambda x, k: conv2d(x, k, stride=0), "stride 0: must be at least 1"),
        (lambda x, k: conv2d(x, k, implementation="fft"), "must be lax, matmul or None"),
        (lambda x, k: conv2d(x[..., :1], k), "want [B, H, W, 2]"),
        (lambda x, k: conv2d(x[0], k), "do not fit kernel"),
        (lambda x, k: conv2d(x, k[0]), "must be [kh, kw, C, D]"),
        (lambda x, k: conv2d(x.astype(jnp.bfloat16), k), "convert one of them"),
        (lambda x, k: conv2d(x[:, :2], k, padding="VALID"), "too small for kernel"),
        (lambda x, k: conv2d_transpose(x, k, stride=2, output_size=(6, 6)), "starts from [B, 3, 3, 4]"),
        (lambda x, k: conv2d_transpose(x, k, stride=2, output_size=(12,)), "image size (12,) two numbers"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    images, _, kernel = operands(2)
    with pytest.raises(ValueError, match=re.escape(message)):
        call(images, kernel)
