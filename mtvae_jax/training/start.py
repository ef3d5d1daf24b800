"""Where a latent starts: at what it makes of the encoder's outputs as they are before training."""

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.models import build_model
from mtvae_jax.objective import intensities
from mtvae_jax.randomness import Purpose

_NUM_IMAGES = 256


def start_from_data(objective, images):
    """Makes a function from the state at step 0 to the one to start from; None where the latent starts at random.

    The outputs are those for random training images, on one device: the same however many there are.

    **Arguments:** `objective`; `images`: uint8 [N, H, W, C], the training split.
    """
    if objective.latent.start is None:
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
        state = state.replace(params=state.params | {"latent": latent})
        if state.average is None:
            return state
        return state.replace(average=state.average | {"params": state.average["params"] | {"latent": latent}})

    return start
