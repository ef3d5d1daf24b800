"""Where z meets the revealed pixels m: the first layer of a conditional decoder (thesis 3.1, figures 3.2 to 3.5)."""

import math

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.layers import BATCH_AXIS, Conv


class DenseMerge(nn.Module):
    """One fully connected layer from the flattened z and m to a feature map, as the thesis has it.

    Also the way from a flat z alone to a feature map, without m.

    **Arguments:** `shape`: (h, w, F) of the feature map.
    """

    shape: tuple[int, int, int]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, z, m=None, *, train=False):
        """z [B, …] and perhaps m [B, H, W, C+1] → [B, h, w, F]."""
        inputs = {"z": z} if m is None else {"z": z, "m": m}
        inputs = {name: v.reshape(v.shape[0], -1).astype(self.dtype) for name, v in inputs.items()}
        total = sum(v.shape[1] for v in inputs.values())
        # One layer, but a product for z and one for m: nobody asks for the gradient with respect to m, so it is not
        # computed, as it would be within a product for both.
        x = 0.0
        for name, v in inputs.items():
            init = nn.initializers.variance_scaling(v.shape[1] / total, "fan_in", "truncated_normal")
            features, use_bias = math.prod(self.shape), name == "z"
            x = x + nn.Dense(features, use_bias=use_bias, dtype=self.dtype, kernel_init=init, name=name)(v)
        return x.reshape(-1, *self.shape)


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

    @nn.compact
    def __call__(self, z, m, *, train=False):
        """z [B, Z] or [B, h, w, D] and m [B, H, W, C+1] → [B, h, w, F]."""
        common = {"normalise": self.normalise, "dtype": self.dtype, "axis_name": self.axis_name}
        m = Encoder(self.hidden_dims, **common, name="m")(m, train)
        if z.ndim == 2:
            z = DenseMerge(self.shape, self.dtype, name="z")(z)
        x = jnp.concatenate([z.astype(self.dtype), m], axis=-1)
        return Conv(self.shape[-1], 3, dtype=self.dtype, name="conv")(x)
