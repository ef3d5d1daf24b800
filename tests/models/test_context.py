"""The network that reads revealed pixels at every scale, and the merge behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtvae_jax.conditioning import condition
from mtvae_jax.config import check, resolve, thesis_config
from mtvae_jax.models import build_model, count_parameters, init_variables
from mtvae_jax.models.context import ContextNetwork, push_pull
from mtvae_jax.models.latents import LATENTS


def brute_push_pull(image, mask, layers):
    """Of one image [H, W], pixel by pixel in float64: what stands in for each place of the largest map."""
    known, values = mask.astype(float), np.where(mask, image, 0.0)
    levels = [(values, known)]
    for _ in range(layers):
        values, known = levels[-1]
        height, width = -(-values.shape[0] // 2), -(-values.shape[1] // 2)
        coarse = np.zeros((2, height, width))
        for y, x in np.ndindex(values.shape):
            coarse[:, y // 2, x // 2] += values[y, x], known[y, x]
        levels.append(tuple(coarse))
    filled = None
    for values, known in reversed(levels):
        height, width = values.shape
        new = np.zeros((height, width))
        for y, x in np.ndindex(height, width):
            if known[y, x] > 0:
                new[y, x] = values[y, x] / known[y, x]
            elif filled is not None:
                rows = [min(max(y + d, 0), height - 1) for d in (-1, 0, 1)]
                columns = [min(max(x + d, 0), width - 1) for d in (-1, 0, 1)]
                weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
                new[y, x] = sum(
                    weights[i, j] * filled[rows[i] // 2, columns[j] // 2] for i in range(3) for j in range(3)
                )
        filled = new
    return filled


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 6)])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_holes_are_filled_as_by_brute_force(shape, count):
    generator = np.random.default_rng(count)
    image, mask = generator.uniform(size=shape), np.zeros(shape, bool)
    mask.flat[generator.permutation(mask.size)[:count]] = True
    m = condition(jnp.asarray(image, jnp.float32)[None, ..., None], jnp.asarray(mask)[None, ..., None])
    maps = push_pull(m, 3)
    np.testing.assert_allclose(maps[0][0, ..., 0], brute_push_pull(image, mask, 3), atol=1e-6)
    np.testing.assert_array_equal(maps[0][0, ..., 2], mask)
    for layer, maps_of_layer in enumerate(maps):
        height, width = (-(-side // 2**layer) for side in shape)
        assert maps_of_layer.shape == (1, height, width, 3)
    assert np.expm1(np.asarray(maps[-1])[..., 1]).sum() == pytest.approx(count, abs=1e-5)


@given(st.floats(0, 1), st.integers(1, 35))
@settings(max_examples=20, deadline=None)
def test_one_grey_gives_that_grey_everywhere(grey, count):
    mask = np.zeros((1, 6, 6, 1), bool)
    mask.flat[np.random.default_rng(count).permutation(36)[:count]] = True
    filled = push_pull(condition(jnp.full((1, 6, 6, 1), grey, jnp.float32), mask), 3)[0]
    np.testing.assert_allclose(filled[..., 0], grey, atol=1e-6)


@pytest.mark.parametrize("dims", [(4, 8), (4, 8, 8)])
def test_every_place_of_every_map_but_the_image_knows_of_every_pixel(dims):
    """On the grid of z, whatever its size: the gradient of a corner of it reaches the opposite corner of the image."""
    network = ContextNetwork(dims, axis_name=None)
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    m = condition(images, jax.random.bernoulli(jax.random.key(1), 0.3, (2, 16, 16, 1)).at[:, -1, -1].set(True))
    variables = network.init(jax.random.key(2), m, True)
    maps = network.apply(variables, m, False)
    assert [x.shape[1:3] for x in maps] == [(16 // 2**i, 16 // 2**i) for i in range(len(dims) + 1)]
    gradient = jax.jit(jax.grad(lambda m: jnp.sum(network.apply(variables, m, False)[-1][0, 0, 0])))(m)
    assert np.abs(gradient[0, -1, -1, 0]) > 0
    assert np.abs(gradient[1]).max() == 0


def context_config(latent, method="single_decoder", **model):
    config = thesis_config(latent=latent, method=method)
    config.model.update({"merge": "context", "hidden_dims": (4, 8), "residual_layers": 1, **model})
    config.prior.epochs = 0
    check(config)
    return resolve(config, (12, 8, 1))


@pytest.mark.parametrize("head", ["strided", "full"])
@pytest.mark.parametrize("latent", LATENTS)
def test_a_model_of_every_latent_reconstructs_with_any_number_of_pixels(latent, head):
    config = context_config(latent, head=head)
    model = build_model(config, (12, 8, 1), axis_name=None)
    variables = init_variables(model, jax.random.key(0), (12, 8, 1))
    images = jax.random.uniform(jax.random.key(1), (3, 12, 8, 1))
    counted = count_parameters(variables["params"])
    assert sum(size for part, size in counted.items() if part != "total") == counted["total"]
    apply = jax.jit(model.apply)
    for mask in (jnp.zeros((12, 8, 1), bool), jnp.ones((12, 8, 1), bool)):
        output = apply(variables, images, condition(images, mask))
        assert output.reconstruction_conditioned.shape == images.shape
        assert np.isfinite(output.reconstruction_conditioned).all()


def test_draws_of_z_for_one_m_are_those_of_m_given_as_often():
    config = context_config("gaussian")
    model = build_model(config, (12, 8, 1), axis_name=None)
    variables = init_variables(model, jax.random.key(0), (12, 8, 1))
    images = jax.random.uniform(jax.random.key(1), (3, 12, 8, 1))
    m = condition(images, jax.random.bernoulli(jax.random.key(2), 0.2, images.shape))
    z = jax.random.normal(jax.random.key(3), (6, config.model.latent_dim))
    decode = jax.jit(lambda m: model.apply(variables, z, m, method="decode")[1])
    together, repeated = decode(m), decode(jnp.concatenate([m, m]))
    np.testing.assert_allclose(together, repeated, atol=1e-6)
