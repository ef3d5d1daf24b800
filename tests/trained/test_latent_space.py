"""Between images, along a dimension, and from z or codes: against formulas in NumPy and the model's own decoder."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small_config

from mtvae_jax.config import resolve
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.models.latents import LATENTS, build_latent
from mtvae_jax.trained.model import Model

SHAPE = (8, 6, 1)
IMAGES = np.random.default_rng(0).random((5, *SHAPE), np.float32)
MASK = np.random.default_rng(1).random((*SHAPE[:2], 1)) < 0.3


def model(latent, method="multi_decoder"):
    config = resolve(small_config(method, latent=latent, conditioning__grid_stride=2), SHAPE)
    return Model(config, SHAPE, init_variables(build_model(config, SHAPE), jax.random.key(0), SHAPE))


@pytest.fixture(scope="module")
def gaussian():
    return model("gaussian")


@pytest.fixture(scope="module")
def vq():
    return model("vq")


VECTORS = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3)


@settings(deadline=None, max_examples=50)
@given(VECTORS, VECTORS, st.floats(0, 1, width=32))
def test_normal_vectors_turn_from_one_to_the_other(a, b, share):
    latent = build_latent(resolve(small_config("plain"), SHAPE), SHAPE)
    a, b = np.float64(a), np.float64(b)
    found = np.asarray(latent.between(a[None].astype(np.float32), b[None].astype(np.float32), share))[0]
    np.testing.assert_allclose(latent.between(a[None], b[None], 0.0)[0], a, atol=1e-5)
    np.testing.assert_allclose(latent.between(a[None], b[None], 1.0)[0], b, atol=1e-5)
    assert np.isfinite(found).all()
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    assert np.linalg.norm(found) <= max(lengths) * 1.001 + 1e-4
    if min(lengths) > 0.1 and np.dot(a, b) > -0.99 * np.prod(lengths):
        assert np.linalg.norm(found) == pytest.approx((1 - share) * lengths[0] + share * lengths[1], rel=1e-3)


def test_on_a_sphere_the_way_is_its_great_circle_at_constant_speed():
    latent = build_latent(resolve(small_config("plain"), SHAPE), SHAPE)
    angle = 2.0  # radians
    a, b = np.array([[1.0, 0, 0]]), np.array([[np.cos(angle), np.sin(angle), 0]])
    for share in (0.1, 0.5, 0.8):
        expected = [[np.cos(share * angle), np.sin(share * angle), 0]]
        np.testing.assert_allclose(latent.between(3 * a, 3 * b, share), 3 * np.array(expected), atol=1e-5)
    np.testing.assert_allclose(latent.between(a, 2 * a, 0.25), 1.25 * a, atol=1e-5)  # of one direction: straight


@pytest.mark.parametrize("latent", sorted(LATENTS))
def test_the_way_between_images_begins_and_ends_with_their_reconstructions(latent):
    trained = model(latent)
    way = trained.interpolate(IMAGES[:2], IMAGES[2:4], 4)
    assert way.shape == (4, 2, *SHAPE)
    np.testing.assert_allclose(way[[0, -1]], [trained.reconstruct(IMAGES[:2]), trained.reconstruct(IMAGES[2:4])],
                               atol=1e-5)  # fmt: skip


def test_codes_meet_half_way_in_their_embeddings(vq):
    codes = vq.codes(IMAGES)
    codebook = np.asarray(vq.variables["params"]["latent"]["codebook"])
    middle = (codebook[codes[:1]] + codebook[codes[1:2]]) / 2
    np.testing.assert_allclose(vq.interpolate(IMAGES[:1], IMAGES[1:2], 3)[1], vq.decode(middle), atol=1e-5)
    np.testing.assert_array_equal(codes, vq.posterior(IMAGES))
    np.testing.assert_allclose(vq.decode(codes), vq.reconstruct(IMAGES), atol=1e-6)


def test_a_traversal_sets_one_dimension_and_leaves_the_others(gaussian):
    z = gaussian.encode(IMAGES)
    along = gaussian.traverse(IMAGES, 1, [-2, float(z[3, 1]), 2.5])
    assert along.shape == (3, 5, *SHAPE)
    changed = z.copy()
    changed[:, 1] = 2.5
    np.testing.assert_array_equal(along[2], gaussian.decode(changed))
    np.testing.assert_allclose(along[1, 3], gaussian.reconstruct(IMAGES)[3], atol=1e-6)


def test_revealed_pixels_stay_where_they_are_given(gaussian):
    z = gaussian.encode(IMAGES)
    with pytest.warns(UserWarning, match="reveals pixels where training does not"):
        revealed = gaussian.decode(z, IMAGES, MASK)
    np.testing.assert_array_equal(revealed, gaussian.reconstruct(IMAGES, MASK))
    unknown = np.where(MASK, IMAGES, np.nan)
    np.testing.assert_array_equal(gaussian.decode(z, unknown, MASK), gaussian.decode(z, IMAGES, MASK))
    first = float(z[0, 0])
    np.testing.assert_array_equal(gaussian.traverse(IMAGES[:1], 0, [first], MASK)[0],
                                  gaussian.reconstruct(IMAGES[:1], MASK))  # fmt: skip


@pytest.mark.parametrize(("latent", "call", "message"), [
    ("gaussian", lambda m: m.codes(IMAGES), "codes: a gaussian z is no codes; encode gives z"),
    ("vq", lambda m: m.traverse(IMAGES, 0, [1.0]), "traverse: a vq z is codes, of which no dimension can be set"),
    ("gaussian", lambda m: m.traverse(IMAGES, 99, [1.0]), "dimension = 99: must be an integer in 0 … "),
    ("gaussian", lambda m: m.traverse(IMAGES, 0, []), "values: must be a list of finite numbers"),
    ("gaussian", lambda m: m.interpolate(IMAGES, IMAGES, 1), "steps = 1: must be at least 2, the two ends"),
    ("gaussian", lambda m: m.interpolate(IMAGES, IMAGES[:2], 3), "b: must be as many images as a; got 2 and 5"),
    ("gaussian", lambda m: m.decode(np.zeros((2, 3), int)), r"z: must be finite floats of shape \(N, "),
    ("gaussian", lambda m: m.decode(m.encode(IMAGES), IMAGES), "decode: images and mask say together"),
    ("gaussian", lambda m: m.decode(m.encode(IMAGES), IMAGES[:2], MASK), "images: must be as many as there are z"),
    ("vq", lambda m: m.decode(np.full((1, 2, 2), 99999)), "z: codes must have the shape"),
])  # fmt: skip
def test_what_is_impossible_is_refused_in_one_line(latent, call, message):
    with pytest.raises(UserError, match=message) as error:
        call(model(latent))
    assert "\n" not in str(error.value)


def test_a_model_that_needs_pixels_cannot_do_without():
    with pytest.raises(UserError, match="mask = None: a semi_conditional model always needs revealed pixels"):
        model("gaussian", "semi_conditional").interpolate(IMAGES, IMAGES, 3)
