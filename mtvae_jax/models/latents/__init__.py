"""The latents, by the name that `model.latent` has for them. A new one is a file here and a line in this table."""

from mtvae_jax.models.latents.fsq import FiniteScalarQuantiser
from mtvae_jax.models.latents.gaussian import GaussianLatent
from mtvae_jax.models.latents.vq import VectorQuantiser

LATENTS = {
    "gaussian": GaussianLatent,
    "vq": VectorQuantiser,
    "fsq": FiniteScalarQuantiser,
}
