"""The one composition that all models are: encoder → latent → decoders.

    images ─► encoder ─► latent ─► z ─┬─► decoder (z)                 ─► x̂₁
       │                              └─► conditional decoder (z, m)  ─► x̂₂
       └──► conditioning (mask) ─► m ──────┘
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.models.latents.protocol import LatentOutput

# Folded into an image's key for its draws from p(z|m); the key itself is that of the posterior's noise.
_DRAWS = np.uint32(2**32 - 1)


class Output(NamedTuple):
    """**reconstruction**: x̂₁ from z alone; **reconstruction_conditioned**: x̂₂ from z and m; each float32 [B, H, W, C],
    or None where the model has no such decoder. **latent**: what the latent returned.

    Of a model that learns p(z|m) along with the rest, else None: **prior_nats**: KL(q(z|x) ‖ p(z|m)), float32 [B];
    **draws**: two of p(x|m) with z from p(z|m), float32 [2, B, H, W, C], None without noise.
    """

    reconstruction: jax.Array | None
    reconstruction_conditioned: jax.Array | None
    latent: LatentOutput
    prior_nats: jax.Array | None = None
    draws: jax.Array | None = None


class MultitaskVAE(nn.Module):
    """**Arguments:** `decoder`: p(x|z) or None; `conditional_decoder`: p(x|z, m) or None; `context`: the network that
    sees m first, None where the conditional decoder does; `prior`: p(z|m), None where it is not learned along with the
    rest; see `mtvae_jax.models.priors`.
    """

    encoder: nn.Module
    latent: nn.Module
    decoder: nn.Module | None
    conditional_decoder: nn.Module | None
    context: nn.Module | None = None
    prior: nn.Module | None = None

    def __call__(self, images, m, keys=None, *, train=False):
        """**Arguments:** `images`: float [B, H, W, C] in [0, 1]; `m`: float [B, H, W, C+1] or None; `keys`: typed keys
        [B] for the latent's noise, or None for none; `train`: normalise by the batch and update running statistics.
        """
        latent, seen = self.encode(images, keys, train=train), self.see(m, train=train)
        if self.prior is None:
            return Output(*self.decode_seen(latent.z, seen, train=train), latent)
        nats = self.prior.nats(latent.posterior, seen, train=train)
        if keys is None:
            return Output(*self.decode_seen(latent.z, seen, train=train), latent, nats)
        # One pass for the draws and for z, so that batch normalisation sees both, as it will when the model is used.
        keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, _DRAWS)), out_axes=1)(keys)
        drawn = [self.prior.sample(draw_keys, seen) for draw_keys in keys]
        conditioned = self.conditional_decoder(jnp.concatenate([latent.z, *drawn]), seen, train=train)
        reconstruction, *draws = jnp.split(conditioned, 1 + len(drawn))
        unconditioned = None if self.decoder is None else self.decoder(latent.z, train=train)
        return Output(unconditioned, reconstruction, latent, nats, jnp.stack(draws))

    def encode(self, images, keys=None, *, train=False):
        """Turns images [B, H, W, C] into a `LatentOutput`."""
        return self.latent(self.encoder(images, train), keys, train)

    def see(self, m, *, train=False):
        """Returns what the conditional decoder and p(z|m) see of m [B, H, W, C+1]."""
        return m if self.context is None else self.context(m, train)

    def decode(self, z, m, *, train=False):
        """Turns z, and for the conditional decoder m, into (x̂₁ or None, x̂₂ or None); z of S·B rows for S draws."""
        return self.decode_seen(z, self.see(m, train=train), train=train)

    def decode_seen(self, z, seen, *, train=False):
        """Returns `decode` of what is seen of m already."""
        unconditioned = None if self.decoder is None else self.decoder(z, train=train)
        conditioned = None
        if self.conditional_decoder is not None:
            conditioned = self.conditional_decoder(z, seen, train=train)
        return unconditioned, conditioned

    def sample(self, keys, m, labels=None):
        """Draws from p(z|m), where it is learned along with the rest: z float32 [S·B, Z], one from each key, for S
        draws.
        """
        return self.prior.sample(keys, self.see(m), labels)

    def prior_sample(self, key, num):
        """Returns `num` draws of z from the prior that needs no training."""
        return self.latent.prior_sample(key, num)

    def encoder_outputs(self, images, *, train=False):
        """Returns z_e [B, h, w, D] of a model that quantises, before it does."""
        return self.latent.outputs(self.encoder(images, train))

    def embed(self, drawn):
        """Turns what a learned prior draws, codes int [B, h, w] or z [B, Z], into z, what the decoders see."""
        return self.latent.embed(drawn)
