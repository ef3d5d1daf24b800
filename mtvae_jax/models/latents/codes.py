"""What latents of discrete codes share: a grid of them, how their use is reported, and when it has collapsed."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.models.latents.protocol import Finding

# 1 is the perplexity of a single code; 1.5 is one code in 86 of 100 positions and another in the rest.
LEAST_PERPLEXITY = 1.5

# What means nothing to a latent that has no KL → why.
REFUSED = {
    "loss.variance": "says what the weight of a KL stands for, and {} has none",
    "loss.kl_warmup_epochs": "is for the KL of gaussian, and {} has none",
    "prior.joint": "is learned by the gradient of draws, and codes of {} have none",
}


class CodeLatent(nn.Module):
    """The answers that every latent with a `grid` (h, w) of codes out of `num_codes` gives; see `Latent`."""

    prior = "codes"
    knows_prior = False
    settings: ClassVar = {}
    refuses: ClassVar = REFUSED
    terms: ClassVar = {}
    start = None
    varying = ()

    def prior_sample(self, key, num):
        """Draws z [num, h, w, D] of codes that are all equally likely, as before a prior has been learned."""
        return self.embed(jax.random.randint(key, (num, *self.grid), 0, self.num_codes))

    def between(self, a, b, share):
        """Returns the mixture of the embeddings; between two codes there is none."""
        return (1 - share) * a + share * b

    @property
    def posterior_row(self):
        return jax.ShapeDtypeStruct(self.grid, jnp.int32)

    @property
    def codes_per_image(self):
        return math.prod(self.grid)

    def statistics(self, posterior):
        return {}

    def after_update(self, before, params, stats):
        return params, stats


def hidden_dims(dataset):
    """Channels that lead to grids of 7 × 7 codes for 28 × 28 images and of 8 × 8 for 32 × 32, and for the 64 × 64 of
    CelebA too."""
    return (32, 64, 128) if dataset == "celeb_a" else (32, 64)


def use_of_codes(usage, grid):
    """Returns the metrics of how often codes are used.

    **Arguments:** `usage`: float [K], the share of positions with each code, over a split; `grid`: (h, w).
    **Returns:** `perplexity` = exp(entropy); `codes_used`, the share of codes that occur; `nats`: the code length of an
    image under a uniform prior.
    """
    usage = np.asarray(usage, np.float64)
    used = usage[usage > 0]
    return {
        "perplexity": float(np.exp(-np.sum(used * np.log(used)))),
        "codes_used": len(used) / len(usage),
        "nats": math.prod(grid) * math.log(len(usage)),
    }


def codebook_collapsed(perplexity, num_codes):
    """Tells whether nearly every position has the same code. Of one code there is nothing to lose.

    **Arguments:** `perplexity`: exp(entropy) of the use of codes; `num_codes`: K.
    """
    # Of two codes a perplexity of 1.5 is still a use: the limit lies half as far from 1.
    limit = LEAST_PERPLEXITY if num_codes > 2 else (1 + LEAST_PERPLEXITY) / 2
    return num_codes > 1 and perplexity < limit


def findings(metrics, num_codes, remedy):
    """Returns a list with the `Finding` of a collapsed codebook, or an empty one; `remedy`: the settings that help."""
    perplexity = metrics.get("val/perplexity")
    if perplexity is None or not codebook_collapsed(perplexity, num_codes):
        return []
    short = f"codebook collapsed: {round(metrics['val/codes_used'] * num_codes)} of {num_codes} codes used"
    return [Finding(short, f"{short}, perplexity {perplexity:.3g}; {remedy}")]
