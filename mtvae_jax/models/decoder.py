"""The decoders p(x|z) and p(x|z, m): one network, with or without the conditioning information m."""

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.models.layers import (
    BATCH_AXIS,
    BatchNorm,
    Conv,
    ConvTranspose,
    NormActivation,
    ResidualStack,
    stride_two_sizes,
)
from mtvae_jax.models.merge import MERGES, DenseMerge, for_each_draw

# Names of `model.output` → the last function of a decoder.
OUTPUTS = {"sigmoid": nn.sigmoid, "linear": lambda x: x + 0.5}


class Decoder(nn.Module):
    """Residual layers, then transposed convolutions of stride 2 that mirror the encoder's sizes (thesis 3.4.2).

    A flat z comes to the smallest feature map by a fully connected layer; a grid of codes is that map already, and
    only meets such a layer where there is m to merge with (thesis 3.2.3, 3.3.3), and is normalised before it does.

    **Arguments:** `image_shape`: (H, W, C); `hidden_dims`: channels of the encoder's layers, walked backwards;
    `residual_layers`, `residual_dim`, `kernel_size`, `normalise`: as in the encoder; `merge`: a key of `MERGES`;
    `grid_stride`: see `DenseMerge`; `output`: a key of `OUTPUTS`; with "linear" x̂ may leave [0, 1]; `head`: a key of
    `HEADS`.
    """

    image_shape: tuple[int, int, int]
    hidden_dims: tuple[int, ...]
    residual_layers: int = 0
    residual_dim: int = 32
    kernel_size: int = 3
    normalise: bool = True
    merge: str = "dense"
    grid_stride: int | None = None
    output: str = "sigmoid"
    head: str = "strided"
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, z, seen=None, *, train):
        """z [B, Z] or [B, h, w, D], and perhaps m [B, H, W, C+1], or what the network of a merge made of it → x̂ float32
        [B, H, W, C].
        """
        common = {"normalise": self.normalise, "dtype": self.dtype, "axis_name": self.axis_name}
        height, width, _ = self.image_shape
        *output_sizes, smallest = stride_two_sizes(height, width, len(self.hidden_dims))

        x = self._join(z, seen, smallest, train)
        if z.ndim == 4:
            use_bias = not (self.normalise and self.residual_layers)
            x = Conv(self.hidden_dims[-1], use_bias=use_bias, dtype=self.dtype, name="conv_in")(x)
        x = ResidualStack(self.residual_layers, self.residual_dim, **common, name="residual")(x, train)

        finer = () if seen is None else MERGES[self.merge].finer(seen)
        for layer in reversed(range(1, len(self.hidden_dims))):
            x = self._larger(x, layer, self.hidden_dims[layer - 1], output_sizes[layer], finer, train)
        x = HEADS[self.head](self, x, output_sizes[0], finer, train)
        return OUTPUTS[self.output](x.astype(jnp.float32))

    def _larger(self, x, layer, features, size, finer, train):
        """A transposed convolution of stride 2 to `size`, plus what the merge knows there, normalised and activated."""
        x = ConvTranspose(
            features, size, self.kernel_size, use_bias=not self.normalise, dtype=self.dtype, name=f"conv_{layer}"
        )(x)
        x = self._joined(x, layer, finer)
        return NormActivation(self.normalise, self.dtype, self.axis_name, name=f"norm_{layer}")(x, train)

    def _joined(self, x, layer, finer):
        """A feature map, or the image itself, plus what the merge knows at its scale, if anything."""
        if not finer:
            return x
        use_bias = not self.normalise
        known = Conv(x.shape[-1], 3, use_bias=use_bias, dtype=self.dtype, name=f"context_{layer}")(finer[layer])
        return x + for_each_draw(known, x.shape[0])

    def _join(self, z, m, smallest, train):
        """The map [B, h, w, F] from which the convolutions start."""
        if z.ndim == 4 and m is None:
            return z
        if z.ndim == 4 and self.normalise:
            # Codes start at a hundredth of the size of m's values. Drowned by them they would pass next to no gradient
            # to the encoder, whose outputs then fall onto a few codes and stay there.
            z = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name="norm_z")(z, train)
        shape = (*smallest, z.shape[-1] if z.ndim == 4 else self.hidden_dims[-1])
        kind = DenseMerge if m is None else MERGES[self.merge]
        return kind.build(shape, self, name="merge")(z, m, train=train)


def _strided(decoder, x, size, finer, train):
    """The last layer of stride 2 gives the image itself."""
    del train
    # Four taps at stride 2 reach every pixel alike; three print a checkerboard on the image.
    x = ConvTranspose(decoder.image_shape[-1], size, kernel_size=4, dtype=decoder.dtype, name="conv_0")(x)
    return decoder._joined(x, 0, finer)


def _full(decoder, x, size, finer, train):
    """It gives a feature map of the image's size and of the first width, from which a 3×3 convolution makes the image.
    """
    x = decoder._larger(x, 0, decoder.hidden_dims[0], size, finer, train)
    return Conv(decoder.image_shape[-1], 3, dtype=decoder.dtype, name="conv_out")(x)


# Names of `model.head` → the end of a decoder, within its `__call__`: feature map [B, h, w, F] → [B, *size, C].
HEADS = {"strided": _strided, "full": _full}
