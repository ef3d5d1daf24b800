"""The decoders p(x|z) and p(x|z, m): one network, with or without the conditioning information m."""

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.models.layers import BATCH_AXIS, ConvTranspose, NormActivation, stride_two_sizes


class Decoder(nn.Module):
    """Transposed convolutions of stride 2 that mirror the encoder's sizes (thesis 3.4.2).

    **Arguments:** `image_shape`: (H, W, C); `hidden_dims`: channels of the encoder's layers, walked backwards.
    """

    image_shape: tuple[int, int, int]
    hidden_dims: tuple[int, ...]
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, z, m=None, *, train):
        """z [B, …] and perhaps m [B, H, W, C+1] → x̂ float32 [B, H, W, C] in (0, 1)."""
        height, width, channels = self.image_shape
        *output_sizes, smallest = stride_two_sizes(height, width, len(self.hidden_dims))
        x = self._merge(z, m, (*smallest, self.hidden_dims[-1]))
        widths = (channels, *self.hidden_dims[:-1])
        for layer in reversed(range(len(widths))):
            last = layer == 0
            x = ConvTranspose(
                widths[layer],
                output_sizes[layer],
                # Four taps at stride 2 reach every pixel alike; three print a checkerboard on the image.
                kernel_size=4 if last else 3,
                use_bias=last,
                dtype=self.dtype,
                name=f"conv_{layer}",
            )(x)
            if not last:
                x = NormActivation(self.dtype, self.axis_name, name=f"norm_{layer}")(x, train)
        return nn.sigmoid(x.astype(jnp.float32))

    def _merge(self, z, m, shape):
        """The fully connected layer that joins the flattened z and m (thesis 3.1, figures 3.2 to 3.5)."""
        parts = [v.reshape(v.shape[0], -1).astype(self.dtype) for v in (z, m) if v is not None]
        x = nn.Dense(shape[0] * shape[1] * shape[2], dtype=self.dtype, name="merge")(jnp.concatenate(parts, axis=-1))
        return x.reshape(-1, *shape)
