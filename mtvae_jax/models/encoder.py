"""The encoder: images to a grid of features, which a latent turns into z."""

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.models.layers import BATCH_AXIS, Conv, NormActivation


class Encoder(nn.Module):
    """Convolutions of stride 2, each with batch normalisation and LeakyReLU (thesis 3.4.2).

    **Arguments:** `hidden_dims`: channels of each layer.
    """

    hidden_dims: tuple[int, ...]
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, images, train):
        """Images [B, H, W, C] in [0, 1] → features [B, h, w, hidden_dims[-1]]."""
        x = images
        for layer, features in enumerate(self.hidden_dims):
            # Batch normalisation has a bias of its own.
            x = Conv(features, stride=2, use_bias=False, dtype=self.dtype, name=f"conv_{layer}")(x)
            x = NormActivation(self.dtype, self.axis_name, name=f"norm_{layer}")(x, train)
        return x
