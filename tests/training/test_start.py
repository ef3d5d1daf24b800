"""What training starts from: the factor analysis of the training images, in every network that guesses by one."""

import io

import jax
import numpy as np
import pytest
from small_runs import tiny_config

import mtvae_jax
from mtvae_jax.judging.regression import RegressionObjective, train_regression
from mtvae_jax.models.factors import fit_factors
from mtvae_jax.randomness import Purpose
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.second_stage import train_prior

GUESSES = {"model__merge": "context", "model__factors": 3, "train__ema_decay": 0.9, "conditioning__sampling": "uniform"}


def expected(images, seed_key):
    return fit_factors(images, 3, jax.random.fold_in(seed_key, Purpose.FACTORS))


def guess_of(variables, *path):
    statistics = variables["batch_stats"]
    for name in (*path, "guess"):
        statistics = statistics[name]
    return statistics


def assert_is(found, fitted):
    for name, value in fitted.items():
        assert np.std(value) > 0
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "second-stage"])
def test_both_stages_guess_by_the_factors_of_the_training_images(joint, tiny, tmp_path):
    config = tiny_config(method="single_decoder", prior__joint=joint, prior__epochs=0 if joint else 1, **GUESSES)
    train(config, tiny, tmp_path, stream=io.StringIO())
    key = jax.random.key(config.seed)
    assert_is(guess_of(mtvae_jax.load(tmp_path).variables, "context"), expected(tiny.train, key))
    if not joint:
        train_prior(config, tiny, tmp_path, stream=io.StringIO())
        prior = mtvae_jax.load(tmp_path).prior
        key = jax.random.fold_in(key, Purpose.PRIOR)
        assert_is(guess_of(prior.variables, "encoder", "network"), expected(tiny.train, key))


def test_the_regression_guesses_by_the_same_factors(tiny, tmp_path):
    config = tiny_config(method="single_decoder", prior__joint=True, prior__epochs=0, **GUESSES)
    rival = train_regression(config, tiny, tmp_path, stream=io.StringIO())
    key = RegressionObjective(config, (6, 6, 1)).base_key
    assert_is(guess_of(rival._variables, "context"), expected(tiny.train, key))


def test_a_model_without_factors_starts_at_random(tiny, tmp_path):
    config = tiny_config(method="single_decoder", **GUESSES | {"model__factors": 0})
    train(config, tiny, tmp_path, stream=io.StringIO())
    assert "guess" not in mtvae_jax.load(tmp_path).variables["batch_stats"].get("context", {})
