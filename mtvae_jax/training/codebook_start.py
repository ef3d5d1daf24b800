"""Where a codebook starts: at outputs of the encoder as it is before training, so that every code is near some."""

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.config import is_quantised
from mtvae_jax.models import build_model
from mtvae_jax.objective import intensities
from mtvae_jax.training.step import Purpose

_NUM_IMAGES = 256


def codebook_from_data(objective, images):
    """A function from the state at step 0 to the one to start from; None where the codes start at random.

    The codes are outputs for random positions of random training images, on one device: the same however many there
    are.

    **Arguments:** `objective`; `images`: uint8 [N, H, W, C], the training split.
    """
    settings = objective.config.model
    if not is_quantised(settings.latent) or settings.codebook_init != "data":
        return None
    model = build_model(objective.config, objective.image_shape, axis_name=None)

    def start(state):
        image_key, code_key = jax.random.split(jax.random.fold_in(objective.base_key, Purpose.CODEBOOK))
        chosen = jax.random.permutation(image_key, len(images))[:_NUM_IMAGES]
        batch = intensities(jnp.asarray(images[np.asarray(chosen)]))

        @jax.jit
        def outputs(state, batch):
            variables = {"params": state.params, "batch_stats": state.batch_stats}
            z_e, _ = model.apply(variables, batch, train=True, mutable=["batch_stats"], method="encoder_outputs")
            return z_e

        z_e = outputs(state, batch)
        z_e = z_e.reshape(-1, z_e.shape[-1])
        size = settings.codebook_size
        codes = z_e[jax.random.choice(code_key, len(z_e), (size,), replace=len(z_e) < size)]
        state = state.replace(params=_with_codebook(state.params, codes))
        if state.average is None:
            return state
        return state.replace(average=state.average | {"params": _with_codebook(state.average["params"], codes)})

    return start


def _with_codebook(params, codes):
    return params | {"latent": params["latent"] | {"codebook": codes}}
