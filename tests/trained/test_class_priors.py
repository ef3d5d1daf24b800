"""Priors of label and codes: how likely each class is, given pixels and from nothing, and what it costs."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from small_runs import small_config

from mtvae_jax.conditioning import exact_grid_mask, image_keys
from mtvae_jax.config import resolve
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.priors import CodePrior, GaussianPrior
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.prior_objective import PriorObjective

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)
COUNTS = (0, 0, 0, 95, 0, 0, 0, 5)  # labels 3 and 7


class Labels(nn.Module):
    """In the place of a PixelCNN: every code is the label, and costs ln 5."""

    num_classes: int
    hidden_dim: int = 4
    dtype: jnp.dtype = jnp.float32

    def __call__(self, codes, context=None, labels=None, keys=None):
        return jnp.zeros((*codes.shape, 5))

    def sample(self, keys, size, context=None, labels=None):
        return jnp.broadcast_to(labels[:, None, None], (len(keys), *size))


@pytest.fixture(scope="module", autouse=True)
def _forget_models():
    yield
    model.cache_clear()


@functools.lru_cache
def model(method, label_counts, latent="vq"):
    """Of random parameters."""
    config = small_config(method, latent=latent, prior__class_conditional=True, conditioning__grid_stride=2)
    config = resolve(config, SHAPE)
    prior = LearnedPrior(config, SHAPE, len(COUNTS), label_counts=label_counts)
    prior = prior.with_variables(PriorObjective.of(prior).init(jax.random.key(1)))
    return Model(config, SHAPE, init_variables(build_model(config, SHAPE), KEY, SHAPE), prior=prior)


def drawn_labels(model, monkeypatch, n, *given, **arguments):
    """Those of `model.sample(n, …)`."""
    seen = []
    prior = copy.copy(model.prior)
    prior.variables = {}
    prior.network = CodePrior(None, Labels(prior.num_classes), (2, 2), tuple(prior.label_counts))
    model = model.with_prior(prior)
    monkeypatch.setattr(Model, "_decode", lambda _, z, m: seen.append(np.asarray(z)) or z)
    monkeypatch.setattr("mtvae_jax.trained.model._embed", lambda network, variables, codes: codes)
    model.sample(n, *given, **arguments)
    return seen[0][:, 0, 0]


# ---------------------------------------------------------------------------------------------------- the module


def test_labels_are_drawn_as_often_as_they_occur_and_cost_their_surprise():
    prior, num = CodePrior(None, Labels(8), (2, 3), COUNTS), 20000
    labels = prior.apply({}, image_keys(KEY, num), method="sample")[:, 0, 0]
    frequency = np.bincount(labels, minlength=8) / num
    assert set(np.unique(labels)) == {3, 7}
    assert frequency[7] == pytest.approx(0.05, abs=5 * np.sqrt(0.05 * 0.95 / num))
    nats = prior.apply({}, np.zeros((2, 2, 3), int), None, np.array([3, 7]), method="nats")
    np.testing.assert_allclose(nats, 6 * np.log(5) - np.log([0.95, 0.05]), rtol=1e-6)
    # Its label is not drawn with the noise of its codes, nor does it depend on the others
    np.testing.assert_array_equal(prior.apply({}, image_keys(KEY, 9), method="sample")[:, 0, 0], labels[:9])


def test_labels_given_pixels_are_drawn_as_bayes_rule_has_it():
    """Images of which one of two pixels is known, white in 80 % of class 0, a fifth of class 2; 1 never occurs."""
    labels, white, number = np.array([(0, 1, 240), (0, 0, 60), (2, 1, 20), (2, 0, 80)]).T
    m = np.zeros((4, 4, 4, 2), np.float32)
    m[:, 1, 2, 0], m[:, 1, 2, 1] = white, 1.0
    prior = CodePrior(Encoder((8,), normalise=False, axis_name=None), Labels(3), (2, 2), (300, 0, 100))
    codes = np.zeros((4, 2, 2), int)
    variables = prior.init(KEY, codes, m, labels, method="nats")
    optimizer = optax.adam(1e-2)

    def mean_nats(variables):
        return jnp.average(prior.apply(variables, codes, m, labels, method="nats"), weights=number)

    @jax.jit
    def train(variables):
        def step(state, _):
            updates, optimizer_state = optimizer.update(jax.grad(mean_nats)(state[0]), state[1])
            return (optax.apply_updates(state[0], updates), optimizer_state), None

        return jax.lax.scan(step, (variables, optimizer.init(variables)), length=600)[0][0]

    def probabilities(variables, *m):
        return prior.apply(variables, jnp.stack(m), method="label_probabilities")

    black, nothing = m[-1], np.zeros_like(m[0])
    np.testing.assert_allclose(probabilities(variables, m[0]), [[0.75, 0, 0.25]], rtol=1e-6)  # p(y) at the start
    trained = train(variables)
    joint = np.array([[240, 0, 20], [60, 0, 80], [300, 0, 100]])  # counted: white, black, either
    expected = joint / joint.sum(1, keepdims=True)
    found = probabilities(trained, m[0], black, nothing)
    np.testing.assert_allclose(found, expected, atol=0.005)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-6)  # exact where nothing is revealed
    # Drawn so, and the labels' cost is the conditional entropy
    m_many = np.broadcast_to(black, (5000, *black.shape))
    drawn = prior.apply(trained, image_keys(KEY, 5000), m_many, method="sample")[:, 0, 0]
    assert np.mean(drawn == 2) == pytest.approx(80 / 140, abs=5 * np.sqrt(0.25 / 5000) + 0.005)
    entropy = -np.average(np.log(expected[1 - white, labels]), weights=number)
    assert mean_nats(trained) - 4 * np.log(5) == pytest.approx(entropy, abs=1e-3)


def test_a_normal_prior_learns_the_normal_distribution_of_each_class():
    """Posteriors of class 0 around (2, 0), of class 1 around (−1, 1) with correlated means: by hand, the best
    p(z|y) has their mean and covariance, plus the posteriors' own variance."""
    rng, num = np.random.default_rng(0), 4000
    factors = np.array([[[0.5, 0], [0, 0.5]], [[0.8, 0], [0.6, 0.3]]])
    centres = np.array([[2.0, 0], [-1.0, 1]])
    labels = (rng.random(num) < 0.25).astype(int)
    means = centres[labels] + np.einsum("nij,nj->ni", factors[labels], rng.standard_normal((num, 2)))
    moments = np.stack([means, np.full_like(means, np.log(0.01))], 1).astype(np.float32)
    prior = GaussianPrior(None, 2, 8, num_classes=2, label_counts=(3000, 1000))
    variables = prior.init(KEY, moments[:1], None, labels[:1], method="nats")
    optimizer = optax.adam(3e-2)

    @jax.jit
    def train(variables):
        def mean_nats(variables):
            return jnp.mean(prior.apply(variables, moments, None, labels, method="nats"))

        def step(state, _):
            updates, optimizer_state = optimizer.update(jax.grad(mean_nats)(state[0]), state[1])
            return (optax.apply_updates(state[0], updates), optimizer_state), None

        return jax.lax.scan(step, (variables, optimizer.init(variables)), length=400)[0][0]

    trained = train(variables)
    for label in (0, 1):
        own = means[labels == label]
        drawn = prior.apply(trained, image_keys(KEY, 20000), None, np.full(20000, label), method="sample")
        np.testing.assert_allclose(drawn.mean(0), own.mean(0), atol=0.05)
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(own.T) + 0.01 * np.eye(2), atol=0.05)
    # Without labels each class as often as it occurred, and its own label costs its surprise
    drawn = prior.apply(trained, image_keys(KEY, 20000), method="sample")
    np.testing.assert_allclose(drawn.mean(0), 0.75 * means[labels == 0].mean(0) + 0.25 * means[labels == 1].mean(0),
                               atol=0.05)  # fmt: skip
    alone = GaussianPrior(None, 2, 8, num_classes=2)
    both = [module.apply(trained, moments[:2], None, np.array([0, 1]), method="nats") for module in (prior, alone)]
    np.testing.assert_allclose(both[0] - both[1], -np.log([0.75, 0.25]), rtol=1e-4)


# ---------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("method", ["plain", "multi_decoder"])
def test_draws_depend_on_their_place_alone(method):
    either = model(method, COUNTS)
    np.testing.assert_allclose(either.sample(10, KEY)[:5], either.sample(5, KEY), atol=1e-5)
    if method == "plain":
        return
    images = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), np.uint8)
    mask = np.asarray(exact_grid_mask(8, 8, 2))
    every = either.sample(2, KEY, images, mask)
    np.testing.assert_allclose(either.sample(2, KEY, images[:3], mask), every[:, :3], atol=1e-5)
    np.testing.assert_allclose(either.sample(1, KEY, images, mask), every[:1], atol=1e-5)


@pytest.mark.parametrize("latent", ["vq", "gaussian"])
@pytest.mark.parametrize("labels", [None, np.array([3, 7])])
def test_many_draws_for_the_same_pixels_are_those_of_each_alone(latent, labels):
    prior = model("multi_decoder", COUNTS, latent).prior
    if latent == "vq":  # at the start codes hardly depend on m
        larger = {"params": jax.tree.map(lambda value: 3 * value, prior.variables["params"])}
        prior = prior.with_variables(prior.variables | larger)
    m = np.random.default_rng(0).random((2, *SHAPE[:2], 2), np.float32)
    keys = image_keys(KEY, 6)
    together = prior.sample(keys, m, labels)
    for draw in range(3):
        for image in range(2):
            one = [None if rows is None else rows[image : image + 1] for rows in (m, labels)]
            place = 2 * draw + image
            alone = prior.sample(keys[place : place + 1], *one)
            np.testing.assert_allclose(together[place], alone[0], atol=1e-5)


def test_samples_without_labels_are_of_the_classes_of_training(monkeypatch):
    labels = drawn_labels(model("plain", COUNTS), monkeypatch, 2000, KEY)
    assert set(np.unique(labels)) == {3, 7}
    assert np.mean(labels == 7) == pytest.approx(0.05, abs=5 * np.sqrt(0.05 * 0.95 / 2000))


def test_a_label_never_seen_is_refused():
    for labels, wrong in (([3, 0], 0), ([6, 7], 6)):
        with pytest.raises(UserError, match=f"labels: {wrong} is the label of no image that the prior was"):
            model("plain", COUNTS).sample(2, KEY, labels=labels)
    assert model("plain", COUNTS).sample(2, KEY, labels=[3, 7]).shape == (2, *SHAPE)


def test_a_prior_of_an_earlier_version_says_that_it_knows_no_frequencies():
    before = model("multi_decoder", None)
    images, mask = np.full((2, *SHAPE), 200, np.uint8), np.asarray(exact_grid_mask(8, 8, 2))
    with pytest.warns(UserWarning, match="labels: all classes are drawn alike, because the prior was") as said:
        assert before.sample(3, KEY, images, mask).shape == (3, 2, *SHAPE)
    assert [warning.filename for warning in said] == [__file__]
    assert before.sample(2, KEY, labels=[0, 3]).shape == (2, *SHAPE)


def test_a_normal_z_is_drawn_by_class_where_one_is_given():
    plain = model("plain", COUNTS, "gaussian")
    of_none, of_three, of_seven = plain.sample(4, KEY), *(plain.sample(4, KEY, labels=[y] * 4) for y in (3, 7))
    np.testing.assert_array_equal(of_none, plain.sample(4, KEY, prior="untrained"))  # N(0, I) is p(z), of no class
    assert np.abs(of_three - of_seven).max() > 1e-3
    assert np.abs(of_three - of_none).max() > 1e-3
    np.testing.assert_allclose(plain.sample(2, KEY, labels=[3, 7]), [of_three[0], of_seven[1]], atol=1e-5)
    images, mask = np.full((2, *SHAPE), 200, np.uint8), np.asarray(exact_grid_mask(8, 8, 2))
    multi = model("multi_decoder", COUNTS, "gaussian")
    assert np.abs(multi.sample(1, KEY, images, mask, labels=[3, 3]) - multi.sample(1, KEY, images, mask, labels=[7, 7])
                  ).max() > 1e-4  # fmt: skip
    assert multi.sample(3, KEY, images, mask).shape == (3, 2, *SHAPE)
    with pytest.raises(UserError, match="labels: 0 is the label of no image"):
        plain.sample(1, KEY, labels=[0])
    with pytest.raises(UserError, match="labels: the prior was trained without"):
        plain.with_prior(None).sample(1, KEY, labels=[3])
