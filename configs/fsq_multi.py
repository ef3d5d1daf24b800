"""Multi-decoder VAE with finite scalar quantisation: p(x|z) and p(x|z, m) share one grid of codes.

    python launch.py --config=configs/fsq_multi.py

Not trained to its end yet: no figures to expect are known.
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="fsq", method="multi_decoder")
    config.conditioning.sampling = "exact"
    return config
