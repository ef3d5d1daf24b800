"""What a run starts from: random parameters, and what is made of the training images before the first step."""

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.models import build_model
from mtvae_jax.models.factors import fit_factors
from mtvae_jax.objective import Objective, intensities
from mtvae_jax.process.distributed import on_main
from mtvae_jax.randomness import Purpose

_NUM_IMAGES = 256


def start_from_data(objective, images):
    """Makes a function from the state at step 0 to the one to start from; None where all of it starts at random.

    What it makes of the images is made on one device: the same however many there are.

    **Arguments:** `objective`; `images`: uint8 [N, H, W, C], the training split.
    """
    starts = [start for make in (_codebook, _factors) if (start := make(objective, images)) is not None]
    if not starts:
        return None

    def start(state):
        for step in starts:
            state = step(state)
        return state

    return start


def _codebook(objective, images):
    """The codes start at what the encoder makes of random images before training."""
    if not isinstance(objective, Objective) or objective.latent.start is None:
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
        return _with(state, "params", lambda params: params | {"latent": latent})

    return start


def _factors(objective, images):
    """The factor analysis behind every `FactorGuess` is fitted once, and stays."""
    factors = objective.config.model.factors
    if not factors:
        return None

    # How it is rounded depends on the threads that a host has.
    @on_main
    def fit():
        key = jax.random.fold_in(objective.base_key, Purpose.FACTORS)
        return jax.device_get(fit_factors(images, factors, key))

    def start(state):
        fitted = fit()

        def put(statistics):
            if "loadings" in statistics:
                return statistics | fitted
            return {name: put(part) if isinstance(part, dict) else part for name, part in statistics.items()}

        return _with(state, "batch_stats", put)

    return start


def _with(state, collection, change):
    """Returns a state whose variables of a collection are changed by a function, and their moving averages alike."""
    state = state.replace(**{collection: change(getattr(state, collection))})
    if state.average is None:
        return state
    return state.replace(average=state.average | {collection: change(state.average[collection])})
