"""Semi-conditional VQ-VAE (thesis 3.2.1): p(x|z, m) alone, from a grid of codes and a few revealed pixels.

    python launch.py --config=configs/vq_semi.py

To expect, on a CPU core without a GPU (2026-11-24): mnist_sample with --config.train.epochs=40
--config.prior.hidden_dim=32. On test images:

    reconstruction 0.00297 from z and 49 of 784 pixels; VQ 0.00172, quantisation error 1.3 % of the variance,
                   perplexity 101, 88 % of the codes in use
    prior          p(z) 3.46 nats a code, p(z|m) 3.02; 6.12 bits/dim
    hidden pixels  error of the mean of 16 draws given 49 pixels 0.0263 (z drawn without looking at them: 0.0685),
                   CRPS 0.039 (0.081); 50, 80 and 95 % intervals hold 50, 80 and 95 % of them
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="semi_conditional")
