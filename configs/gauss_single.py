"""Single-decoder Gaussian VAE (thesis 3.3.2, figures 3.4, 4.5): one p(x|z, m), where m may be empty.

    python launch.py --config=configs/gauss_single.py

To expect, on two CPU cores without a GPU (2026-11-23): mnist_sample, 4,050 training images, 100 epochs: 4 minutes
(2,300 images/s); best epoch 74, test reconstruction 0.01009 with an empty mask, 0.01014 with masks of the power law, KL
56.0 nats, 6.83 bits/dim. With so few images and so informative a z the decoder does not learn to use m: its error grows
a little with the number of revealed pixels (0: 0.01009, 49: 0.01018, 784: 0.01077).
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="gaussian", method="single_decoder")
    config.conditioning.sampling = "uniform"
    config.conditioning.exponent = 20.0
    return config
