"""Where z meets the revealed pixels m: the first layer of a conditional decoder (thesis 3.1, figures 3.2 to 3.5).

A merge is a Flax module with

    network                                   the class of the network that sees m first, None where m comes as it is
    build(shape, decoder, name=…)             a classmethod that makes the merge of a `Decoder`, to maps of `shape`
    merge(z, seen, train=…) -> [S·B, h, w, F] z of S·B rows, S draws for each m; `seen`: m [B, H, W, C+1], or what the
                                              network made of it
    finer(seen)                               maps that join at the larger scales of the decoder, largest first
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.conditioning import grid_offset
from mtvae_jax.models.context import ContextNetwork
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.layers import BATCH_AXIS, Conv, NormActivation


class DenseMerge(nn.Module):
    """One fully connected layer from the flattened z and m to a feature map, as the thesis has it.

    Also the way from a flat z alone to a feature map, without m.

    Weights of pixels that training never reveals would keep their random start, and be noise wherever such a pixel is
    revealed to the trained model. They start at zero instead, and stay there.

    **Arguments:** `shape`: (h, w, F) of the feature map; `grid_stride`: of the fixed grid of pixels that training
    reveals, None where it reveals others.
    """

    shape: tuple[int, int, int]
    dtype: jnp.dtype = jnp.float32
    grid_stride: int | None = None

    network = None

    @classmethod
    def build(cls, shape, decoder, *, name):
        """Returns the merge of a `Decoder`, to a feature map of `shape`."""
        return cls(shape, decoder.dtype, decoder.grid_stride, name=name)

    @staticmethod
    def finer(seen):
        return ()

    @nn.compact
    def __call__(self, z, m=None, *, train=False):
        """z [B, …] and perhaps m [B, H, W, C+1] → [B, h, w, F]."""
        z = z.reshape(z.shape[0], -1)
        features, inputs_m = math.prod(self.shape), 0 if m is None else math.prod(m.shape[1:])

        def init(inputs):
            scale = inputs / (z.shape[1] + inputs_m)
            return nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")

        # One layer, but a product for z and one for m: nobody asks for the gradient with respect to m, so it is not
        # computed, as it would be within a product for both.
        x = nn.Dense(features, dtype=self.dtype, kernel_init=init(z.shape[1]), name="z")(z)
        if m is not None:
            known = _PixelDense(features, init(inputs_m), self.dtype, self.grid_stride, name="m")(m, train)
            x = x + for_each_draw(known, x.shape[0])
        return x.reshape(-1, *self.shape)


class _PixelDense(nn.Module):
    """m [B, H, W, C+1] → [B, F], a weight for each of its values, without a bias."""

    features: int
    kernel_init: Callable
    dtype: jnp.dtype
    grid_stride: int | None

    @nn.compact
    def __call__(self, m, train):
        on_grid = [slice(None)] * 2
        if self.grid_stride is not None:
            on_grid = [slice(grid_offset(size, self.grid_stride), None, self.grid_stride) for size in m.shape[1:3]]

        def init(key, shape):
            # Drawn for all pixels: what is drawn for those on the grid does not depend on where the grid lies.
            kernel = self.kernel_init(key, shape).reshape(*m.shape[1:], self.features)
            return jnp.zeros_like(kernel).at[*on_grid].set(kernel[*on_grid]).reshape(shape)

        kernel = self.param("kernel", init, (math.prod(m.shape[1:]), self.features))
        if train and self.grid_stride is not None:
            # Off the grid m is zero: its products, and the gradients of their weights, need not be computed.
            kernel = kernel.reshape(*m.shape[1:], self.features)[*on_grid]
            m = m[:, *on_grid]
        m, kernel = m.reshape(m.shape[0], -1), kernel.reshape(-1, self.features)
        return m.astype(self.dtype) @ kernel.astype(self.dtype)


class SpatialMerge(nn.Module):
    """m is brought to the grid of z by convolutions of stride 2 and joins it there: few weights, and every revealed
    pixel stays in its place. The fully connected layer has a weight for each pixel and each feature.

    **Arguments:** `shape`: (h, w, F) of the feature map; `hidden_dims`: channels of the layers of stride 2, which must
    lead from the image to h × w.
    """

    shape: tuple[int, int, int]
    hidden_dims: tuple[int, ...]
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    network = None

    @classmethod
    def build(cls, shape, decoder, *, name):
        """Returns the merge of a `Decoder`, to a feature map of `shape`."""
        settings = decoder.hidden_dims, decoder.normalise, decoder.dtype, decoder.axis_name
        return cls(shape, *settings, name=name)

    @staticmethod
    def finer(seen):
        return ()

    @nn.compact
    def __call__(self, z, m, *, train=False):
        """z [B, Z] or [B, h, w, D] and m [B, H, W, C+1] → [B, h, w, F]."""
        common = {"normalise": self.normalise, "dtype": self.dtype, "axis_name": self.axis_name}
        m = for_each_draw(Encoder(self.hidden_dims, **common, name="m")(m, train), z.shape[0])
        if z.ndim == 2:
            z = DenseMerge(self.shape, self.dtype, name="z")(z)
        x = jnp.concatenate([z.astype(self.dtype), m], axis=-1)
        return Conv(self.shape[-1], 3, dtype=self.dtype, name="conv")(x)


class ContextMerge(nn.Module):
    """z joins what a `ContextNetwork` knows on its grid; the network's larger maps join the decoder's own ones.

    **Arguments:** `shape`: (h, w, F) of the feature map.
    """

    shape: tuple[int, int, int]
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    network = ContextNetwork

    @classmethod
    def build(cls, shape, decoder, *, name):
        """Returns the merge of a `Decoder`, to a feature map of `shape`."""
        return cls(shape, decoder.normalise, decoder.dtype, decoder.axis_name, name=name)

    @staticmethod
    def finer(seen):
        return seen[:-1]

    @nn.compact
    def __call__(self, z, seen, *, train=False):
        """z [S·B, Z] or [S·B, h, w, D], S draws of it for each m, and the maps of m [B, …] → [S·B, h, w, F]."""
        if z.ndim == 2:
            z = DenseMerge(self.shape, self.dtype, name="z")(z)
        x = jnp.concatenate([z.astype(self.dtype), for_each_draw(seen[-1], z.shape[0])], axis=-1)
        x = Conv(self.shape[-1], 3, use_bias=not self.normalise, dtype=self.dtype, name="conv")(x)
        return NormActivation(self.normalise, self.dtype, self.axis_name, name="norm")(x, train)


def for_each_draw(x, rows):
    """Repeats x [B, …] over and over, [rows, …]; rows is a multiple of B."""
    return x if x.shape[0] == rows else jnp.tile(x, (rows // x.shape[0],) + (1,) * (x.ndim - 1))


# Names of `model.merge` → the layer in which z and m meet.
MERGES = {"dense": DenseMerge, "spatial": SpatialMerge, "context": ContextMerge}
