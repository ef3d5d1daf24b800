"""Single-decoder Gaussian VAE (thesis 3.3.2, figures 3.4, 4.5): one p(x|z, m), where m may be empty.

    python launch.py --config=configs/gauss_single.py

SINGLE
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="gaussian", method="single_decoder")
    config.conditioning.sampling = "uniform"
    config.conditioning.exponent = 20.0
    return config
