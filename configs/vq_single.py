"""VQ-VAE single.

    python launch.py --config=configs/vq_single.py
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="single_decoder")
