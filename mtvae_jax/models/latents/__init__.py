"""The latents, by the name that `model.latent` has for them. A new one is a file here and a line in this table."""

import jax.numpy as jnp

from mtvae_jax.models.latents.fsq import FiniteScalarQuantiser
from mtvae_jax.models.latents.gaussian import GaussianLatent
from mtvae_jax.models.latents.vq import VectorQuantiser
from mtvae_jax.models.layers import BATCH_AXIS, stride_two_sizes

LATENTS = {
    "gaussian": GaussianLatent,
    "vq": VectorQuantiser,
    "fsq": FiniteScalarQuantiser,
}


def build_latent(config, image_shape, *, axis_name=BATCH_AXIS):
    """Returns the latent of the model that a config describes."""
    settings = config.model
    dtype = jnp.dtype(config.train.precision)
    return LATENTS[settings.latent].build(settings, grid_size(config, image_shape), dtype, axis_name)


def grid_size(config, image_shape):
    """Returns (h, w) of the encoder's features, and so of the codes."""
    return stride_two_sizes(*image_shape[:2], len(config.model.hidden_dims))[-1]
