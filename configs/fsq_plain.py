"""Plain VAE with finite scalar quantisation (Mentzer et al. 2023): codes without a codebook, and no term of the loss.

    python launch.py --config=configs/fsq_plain.py

Not trained to its end yet: no figures to expect are known.
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="fsq", method="plain")
