"""What a run starts from: random parameters, and what is made of the training images before the first step."""

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.models import build_model
from mtvae_jax.models.factors import fit_factors
from mtvae_jax.objective import intensities
from mtvae_jax.randomness import Purpose

_NUM_IMAGES = 256


def start_from_data(objective, images):
    """Makes a function from the state at step 0 to the one to start from; None where all of it starts at random.

    What it makes of the images is made on one device: the same however many there are.

    **Arguments:** `objective`: with `latent` and `context`, None each where it has none; `images`: uint8 [N, H, W, C],
    the training split.
    """
    starts = [start for make in (_codebook, _factors) if (start := make(objective, images)) is not None]
    if not starts:
        return None

    def start(state):
        for make in starts:
            state = _replaced(state, *make(state))
        return state

    return start


def _codebook(objective, images):
    """The codes start at what the encoder makes of random images before training."""
    if objective.latent is None or objective.latent.start is None:
        return None
    model = build_model(objective.config, objective.image_shape, axis_name=None)

    def start(state):
        image_key, latent_key = jax.random.split(jax.random.fold_in(objective.base_key, Purpose.CODEBOOK))
        chosen = jax.random.permutation(image_key, len(images))[:_NUM_IMAGES]
        batch = intensities(jnp.asarray(images[np.asarray(chosen)]))

        @jax.jit
        def outputs(state, batch):
            variables = {"params": state.params, "batch_stats": state.batch_stats}
            z_e, _ = model.apply(variables, batch, train=True, mutable=["batch_stats"], method="encoder_outputs")
            return z_e

        z_e = outputs(state, batch)
        latent = objective.latent.start(state.params["latent"], z_e.reshape(-1, z_e.shape[-1]), latent_key)
        return "params", ("latent",), latent

    return start


def _factors(objective, images):
    """The factor analysis behind a `FactorGuess` is fitted once, and stays."""
    factors = objective.config.model.factors
    if not factors or objective.context is None:
        return None

    def start(state):
        key = jax.random.fold_in(objective.base_key, Purpose.FACTORS)
        fitted = fit_factors(images, factors, key)
        guess = state.batch_stats["context"]["guess"]
        return "batch_stats", ("context", "guess"), guess | fitted

    return start


def _replaced(state, collection, path, value):
    """Returns a state with `value` at a path of a collection of variables, and of their moving averages."""

    def put(tree, path):
        first, *rest = path
        return tree | {first: put(tree[first], rest) if rest else value}

    replaced = state.replace(**{collection: put(getattr(state, collection), path)})
    if state.average is None:
        return replaced
    return replaced.replace(average=state.average | {collection: put(state.average[collection], path)})
