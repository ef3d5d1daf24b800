"""The guess of the whole image: factor analysis, exact for every mask, and what fills the holes from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtvae_jax.conditioning import condition
from mtvae_jax.models.context import ContextNetwork, fill
from mtvae_jax.models.factors import FactorGuess, covariance_root, fit_factors, posterior

SHAPE, FACTORS = (4, 3, 2), 5


def analysis(seed, shape=SHAPE, factors=FACTORS):
    """Mean, loadings and noise of a random factor analysis, float64."""
    generator = np.random.default_rng(seed)
    size = int(np.prod(shape))
    return (generator.uniform(0.2, 0.8, size), generator.normal(size=(size, factors)) * 0.2,
            generator.uniform(0.002, 0.05, size))


def drawn(seed, mean, loadings, noise, num):
    generator = np.random.default_rng(seed)
    f = generator.normal(size=(num, loadings.shape[1]))
    return mean + f @ loadings.T + generator.normal(size=(num, len(mean))) * np.sqrt(noise)


def seen(images, masks):
    return condition(jnp.asarray(images, jnp.float32), jnp.asarray(masks))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(0, SHAPE[0] * SHAPE[1]))
def test_posterior_is_that_of_the_joint_gaussian(seed, count):
    mean, loadings, noise = analysis(seed)
    generator = np.random.default_rng(seed)
    image = drawn(seed, mean, loadings, noise, 1).reshape(1, *SHAPE)
    mask = np.zeros(SHAPE[0] * SHAPE[1], bool)
    mask[generator.permutation(mask.size)[:count]] = True
    known = np.repeat(mask, SHAPE[2])
    # By the conditional of a Gaussian over (f, revealed values), a matrix of their covariances
    covariance = loadings[known] @ loadings[known].T + np.diag(noise[known])
    gain = np.linalg.solve(covariance, loadings[known]).T
    expected = gain @ (image.reshape(-1)[known] - mean[known])
    deviations = np.sqrt(np.diag(np.eye(FACTORS) - gain @ loadings[known]))
    m = seen(image, mask.reshape(1, *SHAPE[:2], 1))
    given = [jnp.asarray(part, jnp.float32) for part in (mean, loadings, noise)]
    f, deviation = posterior(m, *given)
    np.testing.assert_allclose(f[0], expected, atol=2e-4)
    np.testing.assert_allclose(deviation[0], deviations, atol=2e-4)
    root = np.asarray(covariance_root(m, *given[1:]))[0]
    left = loadings @ (np.eye(FACTORS) - gain @ loadings[known]) @ loadings.T
    np.testing.assert_allclose(root.T @ root, left, atol=2e-4)


def test_no_product_of_the_posterior_is_rounded_on_any_device():
    parts = (jnp.zeros((2, *SHAPE[:2], SHAPE[2] + 1)), jnp.zeros(24), jnp.zeros((24, FACTORS)), jnp.ones(24))
    products = [line for line in jax.jit(posterior).lower(*parts).as_text().splitlines() if "dot_general" in line]
    assert products
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_fit_finds_the_covariance_that_the_images_have():
    mean, loadings, noise = analysis(0)
    images = np.clip(np.rint(drawn(1, mean, loadings * 0.5, noise, 20_000) * 255), 0, 255).astype(np.uint8)
    fitted = fit_factors(images.reshape(-1, *SHAPE), FACTORS, jax.random.key(0))
    found = np.asarray(fitted["loadings"], np.float64)
    found = found @ found.T + np.diag(np.asarray(fitted["noise"], np.float64).reshape(-1))
    empirical = np.cov(images.reshape(len(images), -1) / 255.0, rowvar=False)
    np.testing.assert_allclose(found, empirical, atol=0.02 * np.diag(empirical).max())
    np.testing.assert_allclose(fitted["mean"].reshape(-1), images.mean(0) / 255, atol=1e-6)


def test_few_images_of_many_values_are_fitted_alike():
    """As many images three times over are more than their values, and have the same moments."""
    mean, loadings, noise = analysis(5, (5, 5, 2), 3)
    images = np.clip(drawn(6, mean, loadings, noise, 20) * 255, 0, 255).astype(np.uint8).reshape(-1, 5, 5, 2)
    few, many = (fit_factors(some, 3, jax.random.key(0)) for some in (images, np.concatenate([images] * 3)))
    for name, value in few.items():
        np.testing.assert_allclose(value, many[name], atol=2e-3)


def test_values_that_never_differ_are_no_ground_for_certainty():
    images = np.zeros((50, 3, 3, 1), np.uint8)
    images[:, 0, 0] = np.arange(50)[:, None]
    fitted = fit_factors(images, 2, jax.random.key(0))
    assert all(np.isfinite(part).all() for part in fitted.values())
    assert fitted["noise"].min() > 0


def test_the_guess_starts_as_the_linear_prediction():
    mean, loadings, noise = analysis(3)
    image = drawn(4, mean, loadings, noise, 1).reshape(1, *SHAPE)
    mask = np.random.default_rng(0).uniform(size=(1, *SHAPE[:2], 1)) < 0.5
    network = FactorGuess(FACTORS, axis_name=None)
    m = seen(image, mask)
    variables = network.init(jax.random.key(0), m, train=False)
    statistics = variables["batch_stats"] | {
        "mean": jnp.asarray(mean, jnp.float32).reshape(SHAPE), "loadings": jnp.asarray(loadings, jnp.float32),
        "noise": jnp.asarray(noise, jnp.float32).reshape(SHAPE),
    }
    guess = network.apply(variables | {"batch_stats": statistics}, m, train=False)
    known = np.repeat(mask.reshape(-1), SHAPE[2])
    covariance = loadings @ loadings.T + np.diag(noise)
    gain = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, ~known)]).T
    expected = mean[~known] + gain @ (image.reshape(-1)[known] - mean[known])
    np.testing.assert_allclose(np.asarray(guess).reshape(-1)[~known], expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 5, 2), (1, 6, 1)])
def test_filled_maps_are_means_over_squares(shape):
    generator = np.random.default_rng(0)
    height, width, channels = shape
    image, guess = generator.uniform(size=(2, 1, *shape))
    mask = generator.uniform(size=(1, height, width, 1)) < 0.4
    maps = fill(seen(image, mask), jnp.asarray(guess, jnp.float32), 2)
    whole = np.where(mask, image, guess)[0]
    for level, found in enumerate(maps):
        side = 2**level
        for y, x in np.ndindex(found.shape[1:3]):
            square = np.s_[y * side:(y + 1) * side, x * side:(x + 1) * side]
            count = mask[0][square].sum()
            expected = [*whole[square].mean((0, 1)), np.log1p(count), min(count, 1)]
            np.testing.assert_allclose(found[0, y, x], expected, atol=1e-5)
        assert found.shape[-1] == channels + 2


def test_training_changes_neither_the_factors_nor_asks_for_their_gradient():
    network = ContextNetwork((4, 8), factors=3, axis_name=None)
    m = jax.random.uniform(jax.random.key(0), (6, 8, 8, 2))
    variables = network.init(jax.random.key(1), m, train=True)
    _, updated = network.apply(variables, m, train=True, mutable=["batch_stats"])
    for name in ("mean", "loadings", "noise"):
        np.testing.assert_array_equal(updated["batch_stats"]["guess"][name], variables["batch_stats"]["guess"][name])
        assert name not in variables["params"]["guess"]
