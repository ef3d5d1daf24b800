"""The one composition that all models are: encoder → latent → decoders.

    images ─► encoder ─► latent ─► z ─┬─► decoder (z)                 ─► x̂₁
       │                              └─► conditional decoder (z, m)  ─► x̂₂
       └──► conditioning (mask) ─► m ──────┘
"""

from typing import NamedTuple

import jax
from flax import linen as nn

from mtvae_jax.models.latents.protocol import LatentOutput


class Output(NamedTuple):
    """**reconstruction**: x̂₁ from z alone; **reconstruction_conditioned**: x̂₂ from z and m; each float32 [B, H, W, C],
    or None where the model has no such decoder. **latent**: what the latent returned."""

    reconstruction: jax.Array | None
    reconstruction_conditioned: jax.Array | None
    latent: LatentOutput


class MultitaskVAE(nn.Module):
    """**Arguments:** `decoder`: p(x|z) or None; `conditional_decoder`: p(x|z, m) or None."""

    encoder: nn.Module
    latent: nn.Module
    decoder: nn.Module | None
    conditional_decoder: nn.Module | None

    def __call__(self, images, m, keys=None, *, train=False):
        """**Arguments:** `images`: float [B, H, W, C] in [0, 1]; `m`: float [B, H, W, C+1] or None; `keys`: typed keys
        [B] for the latent's noise, or None for none; `train`: normalise by the batch and update running statistics.
        """
        latent = self.encode(images, keys, train=train)
        return Output(*self.decode(latent.z, m, train=train), latent)

    def encode(self, images, keys=None, *, train=False):
        """Images [B, H, W, C] → `LatentOutput`."""
        return self.latent(self.encoder(images, train), keys, train)

    def decode(self, z, m, *, train=False):
        """The same z and, for the conditional decoder, m → (x̂₁ or None, x̂₂ or None)."""
        unconditioned = None if self.decoder is None else self.decoder(z, train=train)
        conditioned = None
        if self.conditional_decoder is not None:
            conditioned = self.conditional_decoder(z, m, train=train)
        return unconditioned, conditioned

    def prior_sample(self, key, num):
        """`num` draws of z from the prior that needs no training."""
        return self.latent.prior_sample(key, num)

    def encoder_outputs(self, images, *, train=False):
        """z_e [B, h, w, D] of a model that quantises, before it does."""
        return self.latent.outputs(self.encoder(images, train))

    def embed(self, drawn):
        """What a learned prior draws, codes int [B, h, w] or z [B, Z] → z, what the decoders see."""
        return self.latent.embed(drawn)
