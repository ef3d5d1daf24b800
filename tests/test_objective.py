"""The objective is the thesis' sum of terms; each method sees the masks that it should."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtvae_jax.conditioning import condition, draw_masks, exact_grid_mask
from mtvae_jax.config import has_second_stage
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.models.latents.gaussian import GaussianLatent
from mtvae_jax.models.priors import build_prior
from mtvae_jax.objective import Objective, intensities
from mtvae_jax.ops.backend import PROCESSOR
from mtvae_jax.randomness import image_keys
from mtvae_jax.trained.masks import unlike_training
from mtvae_jax.trained.model import Model
from mtvae_jax.training import evaluate
from mtvae_jax.training.first_stage import headline
from mtvae_jax.training.prior_objective import PriorObjective

KEYS = image_keys(jax.random.key(0), 16), image_keys(jax.random.key(1), 16)


class Jitted:
    """An objective with fresh variables, whose functions are compiled: several times faster than op by op."""

    def __init__(self, config, image_shape=(28, 28, 1)):
        objective = Objective(build_model(config, image_shape, axis_name=None), config, image_shape)
        self.variables = init_variables(objective.model, jax.random.key(2), image_shape)
        self.objective = objective
        self.apply = jax.jit(objective.model.apply, static_argnames=("train", "mutable", "method"))
        self.training_loss = jax.jit(objective.training_loss)
        self.gradients = jax.jit(jax.grad(objective.training_loss, has_aux=True))
        self.evaluation_terms = jax.jit(objective.evaluation_terms)


@pytest.fixture
def batch(digits):
    return {"images": jnp.asarray(digits[:16])}


@pytest.fixture
def images(digits):
    return jnp.asarray(digits[:16] / 255.0, jnp.float32)


LATENT_LOSS = {
    "gaussian": lambda terms, beta: beta * terms["kl"],
    "vq": lambda terms, beta: terms["codebook"] + beta * terms["commitment"],
}


EACH = [*((method, "gaussian") for method in METHODS), ("multi_decoder", "vq")]


@pytest.mark.parametrize(("method", "latent"), EACH)
def test_training_loss_is_the_thesis_sum(method, latent, make_run, batch, images):
    weights = (0.7, 1.9)[: METHODS[method].num_decoders]
    config = make_run(method, latent, loss__weights=weights, loss__beta=0.03)
    model = Jitted(config)
    loss, (_, terms) = model.training_loss(model.variables["params"], model.variables["batch_stats"], batch, *KEYS)

    m = condition(images, draw_masks(config, KEYS[1], 28, 28)) if method != "plain" else None
    output, _ = model.apply(model.variables, images, m, KEYS[0], train=True, mutable=("batch_stats",))
    errors = [
        np.mean((np.float64(images) - np.float64(x)) ** 2)
        for x in (output.reconstruction, output.reconstruction_conditioned)
        if x is not None
    ]
    latent_loss = LATENT_LOSS[latent]({name: np.mean(term) for name, term in output.latent.terms.items()}, 0.03)
    expected = sum(w * e for w, e in zip(weights, errors, strict=True)) + float(latent_loss)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert {name: term.shape for name, term in terms.items()} == model.objective.term_shapes
    assert len(errors) == METHODS[method].num_decoders


@pytest.mark.parametrize(("method", "latent"), EACH)
def test_evaluation_reports_what_the_method_has(method, latent, make_run, batch):
    model = Jitted(make_run(method, latent))
    terms = model.evaluation_terms(model.variables, batch, *KEYS)
    assert all(len(term) == 16 and np.isfinite(term).all() for term in terms.values())
    metrics = model.objective.metrics({name: np.mean(term, axis=0) for name, term in terms.items()})
    for name in ("reconstruction", "bits_per_dim", "psnr", "ssim"):
        assert (name in metrics) == (method != "semi_conditional")
        assert (f"{name}_conditioned" in metrics) == (method != "plain")
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())
    assert ("kl" in metrics, "perplexity" in metrics) == (latent == "gaussian", latent == "vq")


def test_what_comes_from_z_alone_comes_from_the_decoder_for_it_where_there_is_one(make_run, batch, monkeypatch):
    """Also where the conditional decoder knows the empty mask: the figures are those of the model without that."""
    config = make_run("multi_decoder")
    without = Jitted(config)
    monkeypatch.setitem(METHODS, "multi_decoder", dataclasses.replace(METHODS["multi_decoder"], empty_mask=True))
    model = Jitted(config)
    z = jnp.ones((3, config.model.latent_dim))
    of_z = [jax.jit(m.objective.reconstruct_unconditioned)(m.variables, z) for m in (model, without)]
    np.testing.assert_array_equal(*of_z)
    terms, expected = (m.evaluation_terms(m.variables, batch, *KEYS) for m in (model, without))
    for name in ("reconstruction", "psnr", "ssim"):
        np.testing.assert_array_equal(terms[name], expected[name])


def test_beta_rises_linearly_over_the_warm_up_and_the_weights_stay(make_run):
    for length in (0.0, 2.0):
        config = make_run("multi_decoder", loss__kl_warmup_epochs=length, loss__beta=0.3, loss__weights=(0.5, 2.0))
        objective = Objective(build_model(config, (28, 28, 1)), config, (28, 28, 1))
        shares = [1, 1, 1, 1, 1] if length == 0 else [0, 0.25, 0.5, 1, 1]
        for epoch, share in zip((0.0, 0.5, 1.0, 2.0, 7.0), shares, strict=True):
            knobs = jax.jit(objective.training_knobs)(objective.knobs, epoch)
            assert float(knobs.beta) == pytest.approx(0.3 * share)
            np.testing.assert_array_equal(knobs.weights, np.float32([1, 0.5, 2]))
        balanced = objective.training_knobs(objective.knobs, 5.0, np.float32([0.2, 0.3, 0.5]))
        np.testing.assert_allclose(balanced.weights, [0.2, 0.15, 1.0], rtol=1e-6)


def test_statistics_of_a_posterior_are_its_mean_and_its_kl_by_dimension():
    means = np.random.default_rng(0).normal(size=(400, 4)) * [1.0, 0.12, 0.08, 0.0] + [0.0, 3.0, 3.0, 0.0]
    latent = GaussianLatent(4)
    posterior = jnp.asarray(np.stack([means, np.zeros_like(means)], axis=1), jnp.float32)
    statistics = {name: np.mean(value, axis=0) for name, value in latent.statistics(posterior).items()}
    np.testing.assert_allclose(statistics["posterior_mean"], means.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["kl_per_dimension"], np.mean(means**2, axis=0) / 2, rtol=1e-4, atol=1e-6)
    variance = {"posterior_mean_variance": np.array([1.0, 0.0144, 0.0064, 0.0])}
    assert latent.metrics(statistics | variance | {"kl": 1.0}, 0.1)["active_units"] == 2
    assert "active_units" not in latent.metrics({"kl": 1.0}, 0.1)  # in training


@pytest.mark.parametrize("offset", [0.0, 300.0, -1e4])
@pytest.mark.parametrize("per_call", [250, 7])
def test_the_variance_over_a_split_is_that_of_float64(offset, per_call, monkeypatch):
    values = np.float32(np.random.default_rng(0).normal(size=(601, 3)) * [1.0, 0.11, 0.09] + offset)

    def terms(variables, rows, *_):
        return {"value": rows["value"]}

    monkeypatch.setattr(evaluate, "backend", lambda: PROCESSOR._replace(images_at_once=per_call))
    objective = SimpleNamespace(evaluation_terms=terms, varying=("value",), knobs=())
    evaluator = evaluate.Evaluator(objective)
    means = evaluator.means((), evaluator.place({"value": values}))
    assert set(means) == {"value", "value_variance"}
    np.testing.assert_allclose(means["value"], np.float64(values).mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(means["value_variance"], np.float64(values).var(0), rtol=2e-3)


def test_images_at_rest_become_intensities(batch, images):
    np.testing.assert_allclose(intensities(batch["images"]), images, rtol=1e-6)
    assert intensities(batch["images"]).dtype == jnp.float32


def test_single_decoder_is_judged_without_pixels_on_an_empty_mask(make_run, batch, images):
    model = Jitted(make_run("single_decoder"))
    z = model.apply(model.variables, images, KEYS[0], method="encode").z
    empty = condition(images, jnp.zeros((16, 28, 28, 1), bool))
    _, expected = model.apply(model.variables, z, empty, method="decode")
    terms = model.evaluation_terms(model.variables, batch, *KEYS)
    np.testing.assert_allclose(terms["reconstruction"], np.mean((images - expected) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_both_decoders_get_the_same_z(make_run, images):
    model = Jitted(make_run("multi_decoder"))
    m = condition(images, jnp.ones((28, 28, 1), bool))
    output = model.apply(model.variables, images, m, KEYS[0])
    first, second = model.apply(model.variables, output.latent.z, m, method="decode")
    np.testing.assert_allclose(output.reconstruction, first, rtol=1e-5)
    np.testing.assert_allclose(output.reconstruction_conditioned, second, rtol=1e-5)


def test_the_unconditioned_decoder_does_not_see_the_revealed_pixels(make_run, images):
    model = Jitted(make_run("multi_decoder"))

    def reconstructions(mask):
        return model.apply(model.variables, images, condition(images, mask), KEYS[0])

    nothing, everything = (reconstructions(jnp.full((28, 28, 1), value)) for value in (False, True))
    np.testing.assert_array_equal(nothing.reconstruction, everything.reconstruction)
    assert np.abs(nothing.reconstruction_conditioned - everything.reconstruction_conditioned).max() > 1e-3


def test_gradients_reach_the_parts_that_a_weight_leaves(make_run, batch):
    def gradients(weights):
        model = Jitted(make_run("multi_decoder", loss__weights=weights))
        return model.gradients(model.variables["params"], model.variables["batch_stats"], batch, *KEYS)[0]

    def size(tree):
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

    only_first = gradients((1.0, 0.0))
    assert size(only_first["conditional_decoder"]) == 0
    assert size(only_first["decoder"]) > 0
    assert size(only_first["encoder"]) > 0
    only_second = gradients((0.0, 1.0))
    assert size(only_second["decoder"]) == 0
    assert size(only_second["conditional_decoder"]) > 0


def test_masks_follow_the_method_and_the_sampling_type(make_run):
    exact = draw_masks(make_run("multi_decoder"), KEYS[1], 28, 28)
    np.testing.assert_array_equal(exact, np.broadcast_to(exact_grid_mask(28, 28, 4), (16, 28, 28, 1)))
    constant = draw_masks(make_run("multi_decoder", conditioning__sampling="uniform"), KEYS[1], 28, 28)
    np.testing.assert_array_equal(np.asarray(constant).sum((1, 2, 3)), 49)
    gaussian = draw_masks(make_run("semi_conditional", conditioning__sampling="gaussian"), KEYS[1], 28, 28)
    assert np.asarray(gaussian).sum((1, 2, 3)).max() <= 49
    counts = np.asarray(draw_masks(make_run("single_decoder"), KEYS[1], 28, 28)).sum((1, 2, 3))
    assert len(set(counts.tolist())) > 8  # drawn anew for every image


@pytest.mark.parametrize("sampling", ["uniform", "gaussian"])
@pytest.mark.parametrize("count", [0, 49, 400, 784])
def test_a_number_of_pixels_is_a_number_of_different_pixels(sampling, count, make_run):
    config = make_run("single_decoder", conditioning__sampling=sampling)
    masks = draw_masks(config, KEYS[1], 28, 28, count=count)
    np.testing.assert_array_equal(np.asarray(masks).sum((1, 2, 3)), count)


def test_a_sampling_or_latent_that_is_not_in_the_tables_is_met_by_an_error(make_run, dataset):
    config = make_run("multi_decoder")
    with config.unlocked():
        config.conditioning.sampling = "blue_noise"
    with pytest.raises(KeyError, match="'blue_noise'"):
        draw_masks(config, KEYS[1], 28, 28)
    with pytest.raises(KeyError, match="'blue_noise'"):
        unlike_training(config, np.ones((1, 28, 28), bool))
    with config.unlocked():
        config.conditioning.sampling = "exact"
        config.model.latent = "hyperbolic"
    for dispatch in (
        lambda: build_model(config, (28, 28, 1)),
        lambda: build_prior(config, (28, 28, 1), 0),
        lambda: PriorObjective(config, (28, 28, 1), 0),
        lambda: has_second_stage(config),
        lambda: list(headline(config, dataset, {"total": 1})),
        lambda: Model(config, (28, 28, 1), None),
    ):
        with pytest.raises(KeyError, match="'hyperbolic'"):
            dispatch()
