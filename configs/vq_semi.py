"""Semi-conditional VQ-VAE (thesis 3.2.1): p(x|z, m) alone, from a grid of codes and a few revealed pixels.

    python launch.py --config=configs/vq_semi.py

To expect, on two CPU cores without a GPU (2026-11-23): mnist_sample with --config.train.epochs=40
--config.prior.hidden_dim=32. On test images:

    reconstruction 0.00422 from z and 49 of 784 pixels; VQ 0.00045, perplexity 20, 17 % of the codes in use (so few
                   images need few; see model.codebook_restart)
    prior          p(z) 2.54 nats a code, p(z|m) 2.29; 6.30 bits/dim
    hidden pixels  error of the mean of 16 draws given 49 pixels 0.0259 (z drawn without looking at them: 0.0564),
                   CRPS 0.038 (0.070); 50, 80 and 95 % intervals hold 50, 80 and 95 % of them
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="semi_conditional")
