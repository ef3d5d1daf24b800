"""Single-decoder VQ-VAE (thesis 3.3.3, figures 3.5, 4.6): one decoder for any number of revealed pixels, none included.

    python launch.py --config=configs/vq_single.py

To expect, on a CPU core without a GPU (2026-11-24): mnist_sample with --config.train.epochs=40
--config.prior.hidden_dim=32. On test images:

    reconstruction 0.00313 from z, 0.00314 from z and as many pixels as the power law of exponent 20 reveals: the
                   revealed pixels do not help; VQ 0.00187, quantisation error 1.3 % of the variance, perplexity 95,
                   83 % of the codes in use
    prior          p(z) 3.11 nats a code, p(z|m) 3.02; 6.16 and 6.16 bits/dim
    samples        Fréchet distance 8.7, precision 0.60, recall 0.76 (training images: 2.0, 0.87, 0.87; codes drawn
                   alike, without a prior: 30, 0.17, 0.09)
    hidden pixels  error of the mean of 16 draws given m 0.0460 (z drawn without looking at it: 0.0703), CRPS 0.059
                   (0.083); 50, 80 and 95 % intervals hold 50, 81 and 95 % of them
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="single_decoder")
