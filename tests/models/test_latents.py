"""What every latent of the table promises, and finite scalar quantisation against brute force."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtvae_jax.config import SETTINGS, check, model_name, resolve, thesis_config
from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_latent, grid_size
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.models.latents.fsq import FiniteScalarQuantiser, bound, from_codes, to_codes
from mtvae_jax.models.latents.protocol import Latent
from mtvae_jax.models.priors import PRIORS

SHAPE = (12, 8, 1)
FEATURES = jax.random.normal(jax.random.key(1), (5, 3, 2, 4))
KEYS = jax.random.split(jax.random.key(2), 5)


@pytest.fixture(params=LATENTS)
def name(request):
    return request.param


@pytest.fixture
def config(name):
    config = thesis_config(latent=name, method="plain")
    config.model.hidden_dims = (4, 4)
    return resolve(config, SHAPE)


@pytest.fixture
def latent(config):
    return build_latent(config, SHAPE, axis_name=None)


@pytest.fixture
def output(latent):
    variables = latent.init(jax.random.key(0), FEATURES, KEYS)
    return variables, latent.apply(variables, FEATURES, KEYS)


def test_a_latent_has_all_that_the_protocol_names(latent):
    names = {name for name in (*vars(Latent), *Latent.__annotations__) if not name.startswith("_")}
    missing = {name for name in names if not hasattr(latent, name)}
    assert missing == set()
    assert latent.prior in PRIORS
    assert set(latent.settings) <= set(SETTINGS)
    assert set(latent.refuses) <= set(SETTINGS)


def test_names_tell_latents_apart():
    for facts in ("short", "title"):
        assert len({getattr(latent, facts) for latent in LATENTS.values()}) == len(LATENTS)
    names = {model_name(thesis_config(latent=latent, method=method)) for latent in LATENTS for method in METHODS}
    assert len(names) == len(LATENTS) * len(METHODS)


def test_what_it_refuses_is_refused_where_it_is_not_the_default(name):
    other = {float: 0.5, bool: True, int: 3, str: "other"}
    for setting in LATENTS[name].refuses:
        config = thesis_config(latent=name, method="plain")
        section, field = setting.split(".")
        config[section][field] = other[SETTINGS[setting].rule.type]
        with pytest.raises(UserError, match=rf"config\.{setting} = .*must be {SETTINGS[setting].default}"):
            check(config)


def test_shapes_are_those_that_it_names(latent, output):
    _, (z, terms, posterior) = output
    assert len(z) == 5
    assert z.dtype == jnp.float32
    assert {name: term.shape[1:] for name, term in terms.items()} == latent.term_shapes
    assert all(len(term) == 5 and term.dtype == jnp.float32 for term in terms.values())
    assert (posterior.shape[1:], posterior.dtype) == (latent.posterior_row.shape, latent.posterior_row.dtype)
    assert latent.objective(terms, 0.1).shape == (5,)
    assert all(len(value) == 5 for value in latent.statistics(posterior).values())
    assert set(latent.varying) <= set(latent.statistics(posterior))


def test_metrics_come_from_means_of_terms_alone_and_hold_nats(latent, output):
    _, (_, terms, posterior) = output
    means = {name: np.mean(term, axis=0) for name, term in terms.items()}
    assert latent.metrics(means, 0.1)["nats"] >= 0
    statistics = {name: np.mean(value, axis=0) for name, value in latent.statistics(posterior).items()}
    metrics = latent.metrics(means | statistics, 0.1)
    assert all(np.isfinite(value) for value in metrics.values())
    assert latent.findings({}) == []
    assert set(latent.terms) <= set(metrics)


def test_what_a_prior_draws_becomes_a_z_as_the_encoder_makes_it(latent, output):
    variables, (z, _, posterior) = output
    if latent.num_codes is None:
        assert latent.codes_per_image == 1
        drawn = z
    else:
        assert latent.codes_per_image == math.prod(posterior.shape[1:])
        assert 0 <= posterior.min() <= posterior.max() < latent.num_codes
        drawn = posterior
    embedded = latent.apply(variables, drawn, method="embed")
    np.testing.assert_array_equal(embedded, z)
    assert latent.apply(variables, KEYS[0], 7, method="prior_sample").shape == (7, *z.shape[1:])


def test_the_gradient_reaches_the_features(latent, output):
    variables, _ = output
    gradient = jax.grad(lambda features: jnp.sum(latent.apply(variables, features, KEYS).z ** 2))(FEATURES)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_its_headline_is_a_line(name, config):
    line = LATENTS[name].describe(config, grid_size(config, SHAPE))
    assert line
    assert "\n" not in line


# ------------------------------------------------------------------------------------------ finite scalar quantisation


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple))
@settings(max_examples=25, deadline=None)
def test_every_combination_of_levels_has_a_code_of_its_own(levels):
    integers = [range(-(level // 2), (level + 1) // 2) for level in levels]
    combinations = np.array(list(itertools.product(*integers)), np.float32)
    assert len(combinations) == math.prod(levels)
    codes = np.asarray(to_codes(combinations, levels))
    assert sorted(codes) == list(range(math.prod(levels)))
    np.testing.assert_array_equal(from_codes(codes, levels), combinations)


@pytest.mark.parametrize("level", range(2, 10))
def test_rounding_what_is_bounded_gives_each_level_and_no_other(level):
    outputs = np.linspace(-20, 20, 20_001, dtype=np.float32)[:, None]
    rounded = np.unique(np.round(np.asarray(bound(outputs, (level,)))))
    np.testing.assert_array_equal(rounded, np.arange(-(level // 2), (level + 1) // 2))


def test_levels_are_as_the_paper_has_them():
    """Mentzer et al. (2023), appendix A.1, in NumPy: z ↦ round(tanh(z + shift)·half − offset)."""
    levels = np.array([8, 5, 5, 5])
    outputs = np.random.default_rng(0).normal(0, 2, (1000, 4))
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = np.where(levels % 2 == 1, 0.0, 0.5)
    expected = np.round(np.tanh(outputs + np.arctanh(offset / half)) * half - offset)
    found = np.round(np.asarray(bound(outputs.astype(np.float32), tuple(levels))))
    assert np.mean(found != expected) < 1e-3  # but for ties within rounding


def test_fsq_adds_nothing_to_the_loss_and_its_gradient_passes_by_the_rounding():
    latent = FiniteScalarQuantiser((3, 4), (3, 2), axis_name=None)
    variables = latent.init(jax.random.key(0), FEATURES)
    output = latent.apply(variables, FEATURES)
    np.testing.assert_array_equal(latent.objective(output.terms, 0.25), 0.0)
    kernel, bias = variables["params"]["projection"]["kernel"][0, 0], variables["params"]["projection"]["bias"]
    through = jax.grad(lambda x: jnp.sum(latent.apply(variables, x).z))(FEATURES)
    expected = jax.grad(lambda x: jnp.sum(bound(x @ kernel + bias, (3, 4)) / np.array([1.0, 2.0])))(FEATURES)
    np.testing.assert_allclose(through, expected, rtol=1e-4, atol=1e-6)
