"""The encoder: images to a grid of features, which a latent turns into z."""

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.models.layers import BATCH_AXIS, Conv, NormActivation, ResidualStack


class Encoder(nn.Module):
    """Convolutions of stride 2, each with batch normalisation and LeakyReLU, then residual layers (thesis 3.4.2).

    **Arguments:** `hidden_dims`: channels of each layer of stride 2; `residual_layers`, `residual_dim`: their number
    and the channels inside; `kernel_size`: of the layers of stride 2; `normalise`: batch normalisation.
    """

    hidden_dims: tuple[int, ...]
    residual_layers: int = 0
    residual_dim: int = 32
    kernel_size: int = 3
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, images, train):
        """Images [B, H, W, C] in [0, 1] → features [B, h, w, hidden_dims[-1]]."""
        common = {"normalise": self.normalise, "dtype": self.dtype, "axis_name": self.axis_name}
        # Batch normalisation centres, and has a bias of its own; without it the input is centred instead.
        x = images if self.normalise else images - 0.5
        for layer, features in enumerate(self.hidden_dims):
            x = Conv(
                features, self.kernel_size, 2, use_bias=not self.normalise, dtype=self.dtype, name=f"conv_{layer}"
            )(x)
            x = NormActivation(**common, name=f"norm_{layer}")(x, train)
        if self.residual_layers:
            x = Conv(self.hidden_dims[-1], use_bias=not self.normalise, dtype=self.dtype, name="conv_in")(x)
        return ResidualStack(self.residual_layers, self.residual_dim, **common, name="residual")(x, train)
