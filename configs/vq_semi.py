"""VQ-VAE semi.

    python launch.py --config=configs/vq_semi.py
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="semi_conditional")
