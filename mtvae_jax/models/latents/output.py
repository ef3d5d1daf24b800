"""What every latent returns."""

from typing import NamedTuple

import jax


class LatentOutput(NamedTuple):
    """**z**: float [B, …], what the decoders see. **terms**: name → float32 [B, …], the latent's own loss terms and
    statistics. **posterior**: [B, …], all that there is to know of q(z|x): what a learned prior is trained on."""

    z: jax.Array
    terms: dict[str, jax.Array]
    posterior: jax.Array
