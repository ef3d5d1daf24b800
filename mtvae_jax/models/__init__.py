"""Flax modules, and the one place where a config becomes a model."""

import jax
import jax.numpy as jnp

from mtvae_jax.methods import METHODS
from mtvae_jax.models.decoder import Decoder
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.models.multitask import MultitaskVAE


def build_model(config, image_shape, *, axis_name=BATCH_AXIS):
    """The model that a config describes.

    **Arguments:** `config`: a run's config; `image_shape`: (H, W, C); `axis_name`: the pmapped axis over which batch
    normalisation is synchronised in training, None outside of one.
    """
    method = METHODS[config.model.method]
    hidden_dims = tuple(config.model.hidden_dims)
    common = {"dtype": jnp.dtype(config.train.precision), "axis_name": axis_name}

    def decoder():
        return Decoder(tuple(image_shape), hidden_dims, **common)

    return MultitaskVAE(
        encoder=Encoder(hidden_dims, **common),
        latent=LATENTS[config.model.latent](config.model.latent_dim, dtype=common["dtype"]),
        decoder=decoder() if method.decoder else None,
        conditional_decoder=decoder() if method.conditional_decoder else None,
    )


def init_variables(model, key, image_shape):
    """Fresh parameters and batch statistics: {"params": …, "batch_stats": …}, float32."""
    height, width, channels = image_shape
    images = jnp.zeros((1, height, width, channels))
    m = jnp.zeros((1, height, width, channels + 1))
    return jax.jit(lambda key: model.init(key, images, m, train=True))(key)


def count_parameters(params):
    """The number of parameters of each part: {"encoder": …, "latent": …, "decoder": …, "total": …}."""
    parts = {part: sum(leaf.size for leaf in jax.tree.leaves(tree)) for part, tree in params.items()}
    return parts | {"total": sum(parts.values())}
