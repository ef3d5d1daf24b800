"""The latents: each turns encoder features into z and has loss terms of its own. A new one is a file and a line below.

A latent is a Flax module with

    __call__(features, keys, train) -> LatentOutput     features [B, h, w, F]; keys [B] or None for no sampling noise
    prior_sample(key, num) -> z [num, …]                 from the prior p(z)
    objective(terms, beta) -> [B]                        its part of the loss, from its terms (static)
    term_names                                           the names of its terms
"""

from mtvae_jax.models.latents.gaussian import GaussianLatent

LATENTS = {"gaussian": GaussianLatent}
