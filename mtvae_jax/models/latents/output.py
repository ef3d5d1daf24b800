"""What every latent returns."""

from typing import NamedTuple

import jax


class LatentOutput(NamedTuple):
    """**z**: float [B, …], what the decoders see. **terms**: metric name → float32 [B], the latent's own loss terms."""

    z: jax.Array
    terms: dict[str, jax.Array]
