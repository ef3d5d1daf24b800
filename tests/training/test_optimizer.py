"""Schedules and AdamW as the config says."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtvae_jax.config import thesis_config
from mtvae_jax.training.optimizer import learning_rate, make_optimizer


@pytest.fixture(params=["train", "prior"])
def settings(request):
    """A function of overrides → either section of a config that says how to train, for two epochs."""

    def make(**overrides):
        section = thesis_config(latent="gaussian", method="plain")[request.param]
        section.epochs = 2
        section.update(overrides)
        return section

    return make


def test_constant_is_constant(settings):
    rate = learning_rate(settings(), steps_per_epoch=10)
    assert [float(rate(step)) for step in (0, 7, 500)] == pytest.approx([1e-3] * 3)


def test_warm_up_is_linear_and_ends_at_the_full_rate(settings):
    rate = learning_rate(settings(warmup_epochs=0.5), steps_per_epoch=10)
    assert [float(rate(step)) for step in range(7)] == pytest.approx(np.minimum(np.arange(1, 8) / 5, 1) * 1e-3)


def test_cosine_falls_to_zero_over_what_follows_the_warm_up(settings):
    rate = learning_rate(settings(schedule="cosine", warmup_epochs=1.0), steps_per_epoch=10)
    steps = np.arange(10, 20)
    expected = 1e-3 * 0.5 * (1 + np.cos(np.pi * (steps - 10) / 10))
    assert [float(rate(step)) for step in steps] == pytest.approx(expected, rel=1e-5)
    assert float(rate(20)) == pytest.approx(0, abs=1e-9)


def test_first_step_of_adamw_by_hand(settings):
    optimizer = make_optimizer(settings(weight_decay=0.1), steps_per_epoch=10)
    params, gradients = jnp.array([2.0, -3.0]), jnp.array([0.5, -4.0])
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    # Adam's first step is the sign of the gradient; the decay is decoupled and reaches every parameter.
    np.testing.assert_allclose(updates, -1e-3 * (np.sign(gradients) + 0.1 * np.asarray(params)), rtol=1e-4)


def test_clipping_bounds_the_global_norm(settings):
    optimizer = make_optimizer(settings(clip_norm=1.0, weight_decay=0.0), steps_per_epoch=10)
    params = jnp.zeros(2)
    _, state = optimizer.update(jnp.array([30.0, 40.0]), optimizer.init(params), params)
    moments = state[1][0].mu
    np.testing.assert_allclose(moments, 0.1 * np.array([0.6, 0.8]), rtol=1e-5)
