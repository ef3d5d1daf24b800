"""Flax modules, and the one place where a config becomes a model."""

import math

import jax
import jax.numpy as jnp

from mtvae_jax.conditioning import SAMPLINGS
from mtvae_jax.methods import METHODS
from mtvae_jax.models.decoder import Decoder
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.latents import build_latent, grid_size
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.models.merge import MERGES
from mtvae_jax.models.multitask import MultitaskVAE
from mtvae_jax.models.priors import build_prior

__all__ = ["build_latent", "build_model", "count_parameters", "grid_size", "init_variables"]


def build_model(config, image_shape, *, axis_name=BATCH_AXIS):
    """Returns the model that a config describes.

    **Arguments:** `config`: a run's config; `image_shape`: (H, W, C); `axis_name`: the pmapped axis over which
    statistics of the batch are taken in training, None outside of one.
    """
    settings, method = config.model, METHODS[config.model.method]
    if jax.device_count() == 1:
        axis_name = None  # a mean over one device is itself, and would cost a copy each time
    hidden_dims = tuple(settings.hidden_dims)
    grid_stride = config.conditioning.grid_stride if SAMPLINGS[config.conditioning.sampling].fixed_grid else None
    common = {
        "dtype": jnp.dtype(config.train.precision),
        "axis_name": axis_name,
        "residual_layers": settings.residual_layers,
        "residual_dim": settings.residual_dim,
        "normalise": settings.normalization == "batch",
    }
    strided = common | {"kernel_size": settings.kernel_size}

    def decoder():
        return Decoder(
            tuple(image_shape),
            hidden_dims,
            merge=settings.merge,
            grid_stride=grid_stride,
            output=settings.output,
            head=settings.head,
            **strided,
        )

    network = MERGES[settings.merge].network if method.conditional_decoder else None
    context = None if network is None else network(hidden_dims, factors=settings.factors, **common)
    return MultitaskVAE(
        encoder=Encoder(hidden_dims, **strided),
        latent=build_latent(config, image_shape, axis_name=axis_name),
        decoder=decoder() if method.decoder else None,
        conditional_decoder=decoder() if method.conditional_decoder else None,
        context=context,
        prior=build_prior(config, image_shape, axis_name=axis_name) if config.prior.joint else None,
    )


def init_variables(model, key, image_shape):
    """Returns fresh parameters and batch statistics: {"params": …, "batch_stats": …}, float32."""
    height, width, channels = image_shape
    images = jnp.zeros((1, height, width, channels))
    m = jnp.zeros((1, height, width, channels + 1))
    return {"batch_stats": {}} | jax.jit(lambda key: model.init(key, images, m, train=True))(key)


def count_parameters(params):
    """Returns the number of parameters of each part, and their sum: {"encoder": …, "latent": …, "decoder": …, "total":
    …}.

    A conditional decoder is two parts: its first layer, "conditional_decoder/merge", which can dwarf all the rest, and
    "conditional_decoder/layers", what comes after it.

    **Arguments:** `params`: arrays or their shapes.
    """

    def size(tree):
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    counts = {}
    for part, tree in params.items():
        if part == "conditional_decoder":
            counts[f"{part}/merge"] = size(tree["merge"])
            counts[f"{part}/layers"] = size(tree) - size(tree["merge"])
        else:
            counts[part] = size(tree)
    return counts | {"total": size(params)}
