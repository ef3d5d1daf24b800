"""p(z|m) that is learned along with the model: `prior.joint`."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import small_config

import mtvae_jax
from mtvae_jax.conditioning import condition
from mtvae_jax.config import check, has_second_stage, resolve, run_hash, thesis_config
from mtvae_jax.errors import UserError
from mtvae_jax.judging.judge import judge
from mtvae_jax.judging.regression import train_regression
from mtvae_jax.losses import error_of_mean, gaussian_kl_to
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.trained.model import Model
from mtvae_jax.training.first_stage import train

SHAPE = (8, 6, 1)
IMAGES = jax.random.randint(jax.random.key(1), (5, *SHAPE), 0, 256).astype(jnp.uint8)
KEYS = jax.random.split(jax.random.key(2), 5)


def config_of(method="single_decoder", latent="gaussian", **settings):
    config = thesis_config(latent=latent, method=method)
    config.model.update({"hidden_dims": (4, 8), "merge": "context"})
    config.prior.joint = True
    for name, value in settings.items():
        section, field = name.split("__")
        config[section][field] = value
    check(config)
    return resolve(config, SHAPE)


@pytest.fixture(scope="module")
def objective():
    config = config_of(prior__prediction=0.7)
    return Objective(build_model(config, SHAPE), config, SHAPE)


@pytest.fixture(scope="module")
def variables(objective):
    return objective.init(jax.random.key(0))


def test_the_error_of_the_mean_is_without_bias():
    generator = np.random.default_rng(0)
    truth, draws = generator.normal(size=(1, 3, 4, 1)), generator.normal(1, 2, (2, 20_000, 3, 4, 1))
    found = np.asarray(error_of_mean(jnp.asarray(np.repeat(truth, 20_000, 0)), jnp.asarray(draws)))
    expected = np.mean((truth - 1) ** 2)
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))


def test_the_loss_is_the_sum_of_its_terms(objective, variables):
    terms, _ = objective.training_terms(variables["params"], variables["batch_stats"], {"images": IMAGES}, KEYS, KEYS)
    beta = objective.config.loss.beta
    expected = terms["reconstruction_conditioned"] + beta * (terms["kl"] + terms["nats_conditioned"])
    np.testing.assert_allclose(terms["loss"], expected + 0.7 * terms["prediction"], rtol=1e-5)
    assert set(terms) == set(objective.term_shapes)


def test_nats_are_the_divergence_from_the_posterior_and_draws_are_decoded_draws(objective, variables):
    images = IMAGES / 255.0
    m = condition(images, jax.random.bernoulli(jax.random.key(3), 0.3, images.shape))
    output = objective.model.apply(variables, images, m, KEYS)
    model, posterior = objective.model, output.latent.posterior
    bound = model.bind(variables)
    parameters = bound.prior._parameters(bound.prior.encoder(bound.see(m), False), None)
    np.testing.assert_allclose(
        output.prior_nats, gaussian_kl_to(posterior[:, 0], posterior[:, 1], *parameters), rtol=1e-5
    )
    _, alone = bound.decode(output.latent.z, m)
    np.testing.assert_allclose(output.reconstruction_conditioned, alone, atol=1e-5)
    assert output.draws.shape == (2, *images.shape)
    assert np.abs(output.draws[0] - output.draws[1]).max() > 1e-4


def test_draws_start_as_those_of_the_standard_normal_however_many_dimensions():
    config = config_of(model__latent_dim=64)
    model = build_model(config, SHAPE)
    variables = Objective(model, config, SHAPE).init(jax.random.key(0))
    m = condition(jnp.zeros((500, *SHAPE)), jnp.zeros((*SHAPE[:2], 1), bool))
    z = model.apply(variables, jax.random.split(jax.random.key(1), 500), m, method="sample")
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=0.03)


def test_the_gradient_of_the_predicted_mean_reaches_the_prior(objective, variables):
    def prediction(params):
        terms, _ = objective.training_terms(params, variables["batch_stats"], {"images": IMAGES}, KEYS, KEYS)
        return jnp.mean(terms["prediction"])

    gradient = jax.jit(jax.grad(prediction))(variables["params"])
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient["prior"])) > 0


@pytest.mark.parametrize("merge", ["dense", "context"])
def test_a_model_samples_from_what_it_has_learned_along(merge):
    config = config_of(model__merge=merge)
    network = build_model(config, SHAPE, axis_name=None)
    variables = Objective(network, config, SHAPE).init(jax.random.key(0))
    model, images = Model(config, SHAPE, variables), np.asarray(IMAGES)
    mask = np.zeros((*SHAPE[:2], 1), bool)
    mask[2:4, 2:4] = True
    draws = model.sample(3, jax.random.key(0), images, mask, prior="conditional")
    assert draws.shape == (3, 5, *SHAPE)
    np.testing.assert_array_equal(draws, model.sample(3, jax.random.key(0), images, mask))
    hidden = np.where(mask, images, 7)
    np.testing.assert_array_equal(draws, model.sample(3, jax.random.key(0), hidden, mask))
    zeroed = jax.tree.map(jnp.zeros_like, variables)
    assert np.abs(model.with_variables(zeroed).sample(3, jax.random.key(0), images, mask) - draws).max() > 0
    assert model.with_prior(None).with_variables(zeroed).prior is None
    pixels = model.next_pixels(images, mask, 3, jax.random.key(1), draws=8)
    assert pixels.shape == (5, 3, 2)
    with pytest.raises(UserError, match="n = 60: an image has 44 hidden pixels left; must be at most 44"):
        model.next_pixels(images, mask, 60, jax.random.key(1))


def test_there_is_no_second_stage_and_what_cannot_be_is_refused():
    assert not has_second_stage(config_of())
    with pytest.raises(UserError, match=r"config\.prior\.epochs = 3: p\(z\|m\) is learned along with the model"):
        config_of(prior__epochs=3)
    with pytest.raises(UserError, match="plain has no decoder that sees pixels"):
        config_of(method="plain")
    with pytest.raises(UserError, match=r"config\.prior\.joint = True: .*vq.*must be False"):
        config_of(latent="vq")


def test_what_the_model_has_of_the_prior_names_the_run():
    def hashed(**settings):
        return run_hash(config_of(**settings))

    assert hashed() != hashed(prior__hidden_dim=32)
    assert hashed() != hashed(prior__prediction=0.5)
    assert hashed(prior__joint=False, prior__epochs=1) == hashed(prior__joint=False, prior__epochs=1,
                                                                 prior__hidden_dim=32)


def test_a_run_trains_and_is_judged_without_a_second_stage(dataset, digits_npz, tmp_path):
    """And the regression that it is compared with trains on the same images, and predicts."""
    config = resolve(small_config(
        "single_decoder", f"npz:{digits_npz}", prior__joint=True, prior__epochs=None, model__merge="context",
        train__figures_every=0, generation__num_samples=4, generation__num_images=20, generation__draws=4,
    ), dataset.image_shape)  # fmt: skip
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    assert np.isfinite(summary["test/nats_conditioned"])
    given = judge(config, dataset, tmp_path / "run", stream=io.StringIO())["given_pixels"]
    assert {"conditional", "unconditional"} <= set(given)
    images, mask = dataset.test / np.float32(255), np.ones((len(dataset.test), *dataset.image_shape[:2], 1), bool)
    assert mtvae_jax.load(tmp_path / "run").sample(2, jax.random.key(0), images, mask).shape == (2, *images.shape)
    (tmp_path / "rival").mkdir()
    rival = train_regression(config, dataset, tmp_path / "rival", stream=io.StringIO())
    again = train_regression(config, dataset, tmp_path / "rival", stream=io.StringIO())  # complete: trains no more
    mask[:, ::2] = False
    np.testing.assert_array_equal(rival(images, mask), again(images, mask))
    np.testing.assert_array_equal(rival(np.where(mask, images, 0.5), mask), rival(images, mask))
