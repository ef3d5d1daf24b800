"""The composition: any image size, eight models out of parts, batch normalisation as the thesis has it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.special import expit
from small_runs import small_config

from mtvae_jax.conditioning import condition, exact_grid_mask
from mtvae_jax.config import resolve
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, count_parameters, init_variables
from mtvae_jax.models.layers import stride_two_sizes
from mtvae_jax.models.merge import DenseMerge


@pytest.mark.parametrize(
    ("method", "image_shape"),
    [*((method, (28, 28, 1)) for method in METHODS), ("multi_decoder", (17, 40, 2))],
)
def test_every_method_reconstructs_images_at_their_size(method, image_shape):
    config = resolve(small_config(method, conditioning__grid_stride=1), image_shape)
    model = build_model(config, image_shape, axis_name=None)
    variables = init_variables(model, jax.random.key(0), image_shape)
    images = jnp.full((3, *image_shape), 0.5)
    output = jax.jit(model.apply)(variables, images, jnp.zeros((3, *image_shape[:2], image_shape[2] + 1)))
    for reconstruction in (output.reconstruction, output.reconstruction_conditioned):
        if reconstruction is not None:
            assert reconstruction.shape == images.shape
            assert reconstruction.dtype == jnp.float32
            assert 0 < float(reconstruction.min()) <= float(reconstruction.max()) < 1
    assert (output.reconstruction is not None) == METHODS[method].decoder
    assert (output.reconstruction_conditioned is not None) == METHODS[method].conditional_decoder
    assert output.latent.z.shape == (3, 4)


def test_a_full_head_is_a_convolution_of_features_as_large_as_the_image():
    image_shape = (10, 7, 2)
    config = resolve(small_config("plain", model__head="full", conditioning__grid_stride=1), image_shape)
    model = build_model(config, image_shape, axis_name=None)
    variables = init_variables(model, jax.random.key(0), image_shape)
    images = jnp.full((2, *image_shape), 0.5)
    output, seen = model.apply(variables, images, None, capture_intermediates=True, mutable=["intermediates"])
    features = np.asarray(seen["intermediates"]["decoder"]["norm_0"]["__call__"][0])
    kernel, bias = (np.asarray(variables["params"]["decoder"]["conv_out"][name]) for name in ("kernel", "bias"))
    assert features.shape == (2, 10, 7, 8)
    expected = sum(correlate2d(features[1, :, :, c], kernel[:, :, c, 1], mode="same") for c in range(8)) + bias[1]
    np.testing.assert_allclose(output.reconstruction[1, :, :, 1], expit(expected), atol=1e-5)


def test_sizes_mirror_strided_convolutions():
    assert stride_two_sizes(28, 28, 4) == [(28, 28), (14, 14), (7, 7), (4, 4), (2, 2)]
    assert stride_two_sizes(5, 1, 2) == [(5, 1), (3, 1), (2, 1)]


def test_thesis_sized_model_has_the_parameters_of_its_layers():
    config = resolve(
        small_config("multi_decoder", model__hidden_dims=(32, 64, 128, 256), model__latent_dim=16), (28, 28, 1)
    )
    variables = init_variables(build_model(config, (28, 28, 1)), jax.random.key(0), (28, 28, 1))
    channels, features = [1, 32, 64, 128, 256], 2 * 2 * 256
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(channels))
    norms = 2 * sum(channels[1:])
    decoder = convolutions + (16 - 9) * 32 + 2 * sum(channels[1:-1]) + 1 + features  # 4×4 taps in the last layer
    expected = {
        "encoder": convolutions + norms,
        "latent": (features + 1) * 32,
        "decoder": decoder + 16 * features,
        "conditional_decoder/merge": (16 + 2 * 784 + 1) * features,
        "conditional_decoder/layers": decoder - features,
    }
    # The parts do not overlap
    assert count_parameters(variables["params"]) == expected | {"total": sum(expected.values())}


def test_bfloat16_computes_close_to_float32_with_float32_parameters(digits):
    images = jnp.asarray(digits[:8] / 255.0, jnp.float32)

    def outputs(precision):
        config = resolve(small_config("plain", train__precision=precision), (28, 28, 1))
        model = build_model(config, (28, 28, 1), axis_name=None)
        variables = init_variables(model, jax.random.key(0), (28, 28, 1))
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
        return jax.jit(model.apply)(variables, images, None)

    low, full = outputs("bfloat16"), outputs("float32")
    assert low.reconstruction.dtype == low.latent.z.dtype == jnp.float32
    np.testing.assert_allclose(low.reconstruction, full.reconstruction, atol=0.03)
    assert np.abs(low.reconstruction - full.reconstruction).max() > 0  # it did compute in another precision


def test_training_normalises_by_the_batch_and_remembers_it(digits):
    config = resolve(small_config("plain"), (28, 28, 1))
    model = build_model(config, (28, 28, 1), axis_name=None)
    variables = init_variables(model, jax.random.key(0), (28, 28, 1))
    images = jnp.asarray(digits[:32] / 255.0, jnp.float32)
    _, updates = jax.jit(lambda v, x: model.apply(v, x, None, train=True, mutable=["batch_stats"]))(variables, images)
    kernel = variables["params"]["encoder"]["conv_0"]["kernel"]
    features = jax.lax.conv_general_dilated(
        images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = 0.1 * np.asarray(features, np.float64).mean((0, 1, 2))  # momentum 0.9, started at 0
    found = updates["batch_stats"]["encoder"]["norm_0"]["norm"]["mean"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_noise_of_z_has_the_posterior_variance(digits):
    config = resolve(small_config("plain"), (28, 28, 1))
    model = build_model(config, (28, 28, 1), axis_name=None)
    variables = init_variables(model, jax.random.key(0), (28, 28, 1))
    one = jnp.repeat(jnp.asarray(digits[:1] / 255.0, jnp.float32), 2000, axis=0)
    keys = jax.random.split(jax.random.key(1), 2000)
    encode = jax.jit(lambda v, x, keys: model.apply(v, x, keys, method="encode"))
    draws = encode(variables, one, keys).z
    latent = encode(variables, one[:1], None)
    kernel, bias = (variables["params"]["latent"]["moments"][name] for name in ("kernel", "bias"))
    features = model.apply(variables, one[:1], method=lambda m, x: m.encoder(x, False)).reshape(1, -1)
    mean, log_variance = np.split(np.asarray(features @ kernel + bias)[0], 2)
    np.testing.assert_allclose(latent.z[0], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(draws.std(0), np.exp(0.5 * log_variance), rtol=0.08)


@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("shape", [(12, 12, 1), (13, 10, 3)])
def test_the_product_over_the_grid_alone_is_the_one_over_all_pixels(shape, stride):
    """Output and every gradient, where m is zero off the grid; in evaluation it need not be, and all pixels count."""
    images = jax.random.uniform(jax.random.key(0), (4, *shape))
    m = condition(images, jnp.broadcast_to(exact_grid_mask(*shape[:2], stride), (4, *shape[:2], 1)))
    z = jax.random.normal(jax.random.key(1), (4, 5))
    every, on_grid = DenseMerge((2, 2, 6)), DenseMerge((2, 2, 6), grid_stride=stride)
    variables = every.init(jax.random.key(2), z, m)
    for train in (False, True):
        # The same random start, but for weights that nothing will train: those are zero.
        started = on_grid.init(jax.random.key(2), z, m, train=train)["params"]
        np.testing.assert_array_equal(started["z"]["kernel"], variables["params"]["z"]["kernel"])
        grid = np.asarray(exact_grid_mask(*shape[:2], stride))[..., None]
        every_pixel = np.asarray(variables["params"]["m"]["kernel"]).reshape(*m.shape[1:], -1)
        expected = np.where(grid, every_pixel, 0).reshape(started["m"]["kernel"].shape)
        np.testing.assert_array_equal(started["m"]["kernel"], expected)

    def loss(variables, merge):
        x = merge.apply(variables, z, m, train=True)
        return jnp.sum(jnp.sin(x)), x

    (_, x), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(variables, every)
    (_, x_grid), gradient_grid = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(variables, on_grid)
    np.testing.assert_allclose(x_grid, x, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), gradient_grid, gradient)

    everything = condition(images, jnp.ones((4, *shape[:2], 1), bool))
    np.testing.assert_allclose(
        on_grid.apply(variables, z, everything), every.apply(variables, z, everything), rtol=1e-5, atol=1e-5
    )
