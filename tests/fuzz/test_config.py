"""Whatever a config says, it is refused in one line that names the field, or it is a run that can be built."""

import jax
import jax.numpy as jnp
import numpy as np
from fuzz.values import RESOLVED, TEXTS, edits, in_two_lengths, put, refused, type_of, value_of
from hypothesis import strategies as st
from small_runs import small_config

from mtvae_jax.config import (
    LATENTS,
    SETTINGS,
    check,
    from_dict,
    has_second_stage,
    resolve,
    run_hash,
    thesis_config,
    to_dict,
)
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.settings import field_names
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.step import init_state

TREE = thesis_config(latent="vq", method="multi_decoder")
FLOATS = [name for name in field_names(TREE) if type_of(TREE, name) is float]
SHAPES = st.one_of(
    st.sampled_from([(28, 28, 1), (1, 1, 1), (1, 40, 4), (5, 7, 3), (64, 64, 3)]),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
)


def shapes(config, image_shape):
    """Everything of a run that has a shape, without computing any of it."""
    objective = Objective(build_model(config, image_shape, axis_name=None), config, image_shape)
    state = jax.eval_shape(lambda: init_state(objective, make_optimizer(config.train, steps_per_epoch=3)))
    batch = {"images": jnp.zeros((2, *image_shape), jnp.uint8)}
    keys = jax.random.split(jax.random.key(0), 2)
    loss, _ = jax.eval_shape(objective.training_loss, state.params, state.batch_stats, batch, keys, keys)
    assert loss.shape == ()
    jax.eval_shape(objective.evaluation_terms, state.eval_variables, batch, keys, keys)
    if has_second_stage(config):
        classes = 3 if config.prior.class_conditional else 0
        prior = PriorObjective(config, image_shape, classes)
        jax.eval_shape(lambda: init_state(prior, make_optimizer(config.prior, steps_per_epoch=3)))
    return objective


def refused_or_a_run(latent, method, changes, image_shape):
    config = put(small_config(method, latent=latent), changes)
    # ml_collections makes floats of integers, and of True, before anybody sees them
    changes = {name: float(value) if isinstance(value, int) and name in FLOATS else value
               for name, value in changes.items()}
    _, message = refused(lambda: check(config))
    if message is None:
        resolved, message = refused(lambda: resolve(config, image_shape))
    if message is not None:
        names = [*field_names(TREE), *TREE, *changes]
        assert any(name in message for name in names), message
        return
    objective = shapes(resolved, image_shape)
    # What was asked for is what will run
    for name, value in changes.items():
        if name not in RESOLVED and not isinstance(value, dict):
            # ints may stand for floats, nothing for bools
            assert isinstance(value, bool) == isinstance(value_of(TREE, name), bool), name
            np.testing.assert_equal(value_of(resolved, name), tuple(value) if isinstance(value, list) else value)
    for knob in jax.tree.leaves(objective.knobs):
        assert np.isfinite(knob).all()
    again = from_dict(to_dict(resolved))
    assert to_dict(again) == to_dict(resolved)
    assert run_hash(again) == run_hash(resolved)


test_a_config_is_refused_or_can_be_run, test_a_config_is_refused_or_can_be_run_at_length = in_two_lengths(
    refused_or_a_run,
    short=60,
    long=2000,
    latent=st.sampled_from(list(LATENTS)),
    method=st.sampled_from(tuple(METHODS)),
    changes=edits(TREE, lambda name: SETTINGS[name].rule.text),
    image_shape=SHAPES,
)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(TEXTS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(("train", "model", "epochs", "a.b", "")), inner)
    ),
    max_leaves=4,
)


def refused_or_read(latent, changes):
    """A saved config, damaged anywhere."""
    values = to_dict(small_config("multi_decoder", latent=latent))
    for name, value in changes.items():
        section, _, field = name.rpartition(".")
        if field == "":
            values = value
        elif not section:
            values[field] = value
        elif isinstance(values.get(section), dict):
            values[section][field] = value
    config, message = refused(lambda: from_dict(values))
    if config is None:
        assert any(place in message for place in ("config", "model.", "data.")), message
    else:
        assert from_dict(to_dict(config)) == config


NAMES = (*field_names(TREE), *TREE, "train.epoch", "extra", "model.latent", "model.method", "a.b")
test_a_saved_config_is_refused_or_read, test_a_saved_config_is_refused_or_read_at_length = in_two_lengths(
    refused_or_read,
    short=100,
    long=2000,
    latent=st.sampled_from(list(LATENTS)),
    changes=st.one_of(
        st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3), JSON.map(lambda values: {"": values})
    ),
)
