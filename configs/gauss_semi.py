"""Semi-conditional Gaussian VAE (thesis 2.3): one decoder, which always sees the pixels of a fixed grid.

    python launch.py --config=configs/gauss_semi.py

To expect, on two CPU cores without a GPU (2026-11-23): mnist_sample, 4,050 training images, 100 epochs: 7 minutes
beside other work; best epoch 48, test reconstruction given 49 of 784 pixels 0.00910, KL 39.4 nats, 6.72 bits/dim.
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="gaussian", method="semi_conditional")
    config.conditioning.sampling = "exact"
    return config
