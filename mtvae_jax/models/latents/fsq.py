"""Finite scalar quantisation: every dimension of a code is rounded to one of a few levels (Mentzer et al. 2023)."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.errors import UserError
from mtvae_jax.losses import straight_through
from mtvae_jax.models.latents import codes
from mtvae_jax.models.latents.protocol import LatentOutput
from mtvae_jax.models.layers import BATCH_AXIS, Conv
from mtvae_jax.settings import Setting, integer, tuple_of

# Of the levels' outermost half-width: keeps tanh from having to reach its limit there.
_EPSILON = 1e-3


class FiniteScalarQuantiser(codes.CodeLatent):
    """Bounds each of D dimensions and rounds it to one of its levels: K = Π levels codes without a codebook, and so
    without a loss term of its own. The gradient passes by the rounding straight through; see `Latent`.

    **Arguments:** `levels`: how many values each dimension may have; `grid`: (h, w).
    """

    levels: tuple[int, ...]
    grid: tuple[int, int]
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    short = "fsq"
    title = "FSQ-VAE"
    settings: ClassVar = {
        "model.levels": Setting(
            (8, 6, 5),
            tuple_of(integer(2, 256), "a tuple of integers in 2 … 256, like 8,6,5"),
            "number of levels of each dimension of a code (fsq), whose product is the number of codes",
            since="0.2.0",
        )
    }

    @staticmethod
    def defaults(dataset):
        return {"model.hidden_dims": codes.hidden_dims(dataset), "model.residual_layers": 4}

    @staticmethod
    def resolve(config, num_values):
        if config.loss.beta not in (None, 0.0):
            raise UserError(f"config.loss.beta = {config.loss.beta}: weighs a latent's own loss term, and fsq has none")
        config.loss.beta = 0.0
        config.model.latent_dim = len(config.model.levels)

    @classmethod
    def build(cls, settings, grid, dtype, axis_name):
        return cls(tuple(settings.levels), grid, dtype=dtype, axis_name=axis_name)

    @classmethod
    def describe(cls, config, grid):
        rows, columns = grid
        levels = config.model.levels
        return f"{rows} × {columns} codes out of {math.prod(levels)} = {' · '.join(map(str, levels))} levels"

    @nn.compact
    def __call__(self, features, keys=None, train=False):
        """Features [B, h, w, F] → z float32 [B, h, w, D] in [−1, 1]. The posterior is given as codes, int32 [B, h, w].

        `keys` are not used: the quantisation knows no noise.
        """
        outputs = Conv(len(self.levels), kernel_size=1, dtype=self.dtype, name="projection")(features)
        bounded = bound(outputs.astype(jnp.float32), self.levels)
        rounded = jnp.round(bounded)
        z = straight_through(bounded, rounded) / half_widths(self.levels)
        indices = to_codes(rounded, self.levels)
        chosen = jax.nn.one_hot(indices.reshape(indices.shape[0], -1), self.num_codes)  # [B, h·w, K]
        return LatentOutput(z, {"usage": jnp.mean(chosen, axis=1)}, indices)

    def embed(self, indices):
        """Turns codes int [...] into z float32 [..., D]."""
        return from_codes(indices, self.levels) / half_widths(self.levels)

    @property
    def num_codes(self):
        return math.prod(self.levels)

    @property
    def term_shapes(self):
        return {"usage": (self.num_codes,)}

    def objective(self, terms, beta):
        """Returns 0, float [B]: there is nothing to learn but what the decoders ask for."""
        return jnp.zeros(terms["usage"].shape[:-1])

    def metrics(self, means, beta):
        return codes.use_of_codes(means["usage"], self.grid)

    def findings(self, metrics):
        return codes.findings(metrics, self.num_codes, "take fewer levels with config.model.levels")


def half_widths(levels):
    """Returns float32 [D]: the integer that the outermost level of each dimension lies at, L // 2."""
    return np.array([level // 2 for level in levels], np.float32)


def bound(outputs, levels):
    """Squeezes float [..., D] so that rounding it gives one of the L integers −⌊L/2⌋ … ⌈L/2⌉ − 1 (Mentzer et al. 2023,
    section 3.1 and appendix A.1: a tanh, shifted by half a level where L is even)."""
    levels = np.asarray(levels)
    half = (levels - 1) * (1 + _EPSILON) / 2
    offset = np.where(levels % 2 == 0, 0.5, 0.0)
    shift = np.arctanh(offset / half)
    return jnp.tanh(outputs + shift.astype(np.float32)) * half.astype(np.float32) - offset.astype(np.float32)


def to_codes(rounded, levels):
    """Integers of each dimension, float [..., D] → the index of the code in 0 … Π levels − 1, int32 [...]: a number
    whose first digit counts ones."""
    digits = rounded.astype(jnp.int32) + np.array([level // 2 for level in levels], np.int32)
    return jnp.sum(digits * _places(levels), axis=-1)


def from_codes(indices, levels):
    """Returns the inverse of `to_codes`: int [...] → float32 [..., D]."""
    digits = indices[..., None] // _places(levels) % np.asarray(levels, np.int32)
    return digits.astype(jnp.float32) - half_widths(levels)


def _places(levels):
    return np.cumprod([1, *levels[:-1]]).astype(np.int32)
