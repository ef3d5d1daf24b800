"""What the revealed pixels say, at every scale: the network of `model.merge="context"`, and of p(z|m) with it."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from mtvae_jax.models.factors import FactorGuess
from mtvae_jax.models.layers import BATCH_AXIS, Conv, ConvTranspose, NormActivation, ResidualStack, stride_two_sizes

# Maps of at most this side see the whole image within one 3×3 convolution.
_SMALLEST_SIDE = 2


def push_pull(m, num_layers):
    """Averages the revealed pixels at every scale, and fills the holes from the next coarser one.

    It is the push-pull of Gortler et al. (1996, "The Lumigraph", section 4.3), without parameters. On the way down each
    map holds the mean of the revealed pixels below it and their number. On the way up a place that has none takes what
    the coarser map has there, smoothed.

    **Arguments:** `m`: float [B, H, W, C+1]; `num_layers`: how often the sides are halved.
    **Returns:** a tuple of `num_layers` + 1 maps [B, h, w, C+2], largest first: the filled means, the logarithm of one
    plus the number of revealed pixels, and whether there is one.
    """
    sizes = stride_two_sizes(*m.shape[1:3], num_layers)
    sums = [m]
    for size in sizes[1:]:
        sums.append(_sum_of_four(sums[-1], size))
    filled, maps = None, []
    for pixels, size in zip(reversed(sums), reversed(sizes), strict=True):
        count = pixels[..., -1:]
        mean, known = pixels[..., :-1] / jnp.maximum(count, 1), jnp.minimum(count, 1)
        filled = mean if filled is None else mean + (1 - known) * _smoothed(_twice_as_large(filled, size))
        maps.append(jnp.concatenate([filled, jnp.log1p(count), known], axis=-1))
    return tuple(reversed(maps))


def fill(m, guess, num_layers):
    """Fills the holes between the revealed pixels from a guess of the image, and averages the whole at every scale.

    **Arguments:** `m`: float [B, H, W, C+1]; `guess`: float [B, H, W, C]; `num_layers`: how often the sides are halved.
    **Returns:** maps as those of `push_pull`.
    """
    pixels, known = m[..., :-1], m[..., -1:]
    # Where the image ends the mean is over fewer places.
    sums = [jnp.concatenate([pixels + (1 - known) * guess, jnp.ones_like(known), known], axis=-1)]
    for size in stride_two_sizes(*m.shape[1:3], num_layers)[1:]:
        sums.append(_sum_of_four(sums[-1], size))
    return tuple(
        jnp.concatenate([s[..., :-2] / s[..., -2:-1], jnp.log1p(s[..., -1:]), jnp.minimum(s[..., -1:], 1)], axis=-1)
        for s in sums
    )


class ContextNetwork(nn.Module):
    """Makes feature maps of m at every scale from the image down to the grid of z, which there knows of every pixel.

    Convolutions of stride 2 lead from the image to a map of at most 2×2, and transposed ones back up to the grid of z;
    what is filled in between them joins at every scale, so that few pixels say as much as many and no layer has a
    weight for a place.

    **Arguments:** `hidden_dims`: channels of the layers of stride 2 that lead to the grid of z; `residual_layers`,
    `residual_dim`: at the grid, as in the encoder; `factors`: of a `FactorGuess` that fills what is hidden, 0 for none:
    `push_pull` does.
    """

    hidden_dims: tuple[int, ...]
    residual_layers: int = 0
    residual_dim: int = 32
    factors: int = 0
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, m, train):
        """m [B, H, W, C+1] → a tuple of maps, largest first: [B, H, W, C+2], then [B, h_l, w_l, hidden_dims[l-1]]."""
        common = {"normalise": self.normalise, "dtype": self.dtype, "axis_name": self.axis_name}
        layers = len(self.hidden_dims)
        dims = list(self.hidden_dims)
        while max(stride_two_sizes(*m.shape[1:3], len(dims))[-1]) > _SMALLEST_SIDE:
            dims.append(dims[-1])
        sizes = stride_two_sizes(*m.shape[1:3], len(dims))
        if self.factors:
            guess = FactorGuess(self.factors, **common, name="guess")(m, train)
            filled = fill(m, guess, len(dims))
        else:
            filled = push_pull(m, len(dims))

        def conv(x, features, kernel_size, stride, name):
            use_bias = not self.normalise
            return Conv(features, kernel_size, stride, use_bias=use_bias, dtype=self.dtype, name=name)(x)

        maps = [filled[0]]
        for layer, features in enumerate(dims):
            # Four taps at stride 2 reach every pixel alike.
            x = conv(maps[-1], features, 3 if layer else 4, 2, f"down_{layer}")
            x = x + conv(filled[layer + 1], features, 1, 1, f"filled_{layer}")
            maps.append(NormActivation(**common, name=f"norm_{layer}")(x, train))
        for layer in reversed(range(layers, len(dims))):
            x = ConvTranspose(
                dims[layer - 1], sizes[layer], use_bias=not self.normalise, dtype=self.dtype, name=f"up_{layer}"
            )(maps[layer + 1])
            x = x + conv(maps[layer], dims[layer - 1], 3, 1, f"across_{layer}")
            maps[layer] = NormActivation(**common, name=f"norm_up_{layer}")(x, train)
        maps[layers] = ResidualStack(self.residual_layers, self.residual_dim, **common, name="residual")(
            maps[layers], train
        )
        return tuple(maps[: layers + 1])


class GridContext(nn.Module):
    """Returns the smallest map of a `ContextNetwork`, on the grid of z.

    **Arguments:** `network`: None where the maps are given, and not m.
    """

    network: nn.Module | None = None

    @nn.compact
    def __call__(self, m, train):
        """m [B, H, W, C+1], or the maps that a network made of it → [B, h, w, F]."""
        return (m if self.network is None else self.network(m, train))[-1]


def _sum_of_four(pixels, size):
    """Sums over squares of 2×2, [B, H, W, C] → [B, *size, C]; what lies beyond the edge is 0."""
    batch, height, width, channels = pixels.shape
    beyond = [(0, 0), (0, 2 * size[0] - height), (0, 2 * size[1] - width), (0, 0)]
    return jnp.pad(pixels, beyond).reshape(batch, size[0], 2, size[1], 2, channels).sum((2, 4))


def _twice_as_large(pixels, size):
    """Every value four times, cut to `size`."""
    return jnp.repeat(jnp.repeat(pixels, 2, axis=1), 2, axis=2)[:, : size[0], : size[1]]


def _smoothed(pixels):
    """The binomial filter (1, 2, 1) / 4 along both sides; the edge goes on as it is."""
    for axis in (1, 2):
        edges = [(0, 0)] * 4
        edges[axis] = (1, 1)
        padded, size = jnp.pad(pixels, edges, mode="edge"), pixels.shape[axis]
        before, after = (lax.slice_in_dim(padded, start, start + size, axis=axis) for start in (0, 2))
        pixels = (before + 2 * pixels + after) / 4
    return pixels
