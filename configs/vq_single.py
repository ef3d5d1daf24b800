"""Single-decoder VQ-VAE (thesis 3.3.3, figures 3.5, 4.6): one decoder for any number of revealed pixels, none included.

    python launch.py --config=configs/vq_single.py

To expect, on two CPU cores without a GPU (2026-11-23): mnist_sample with --config.train.epochs=40
--config.prior.hidden_dim=32. On test images:

    reconstruction 0.00390 from z, 0.00400 from z and as many pixels as the power law of exponent 20 reveals: after so
                   few steps the revealed pixels do not help yet; VQ 0.00062, perplexity 25, 20 % of the codes in use
    prior          p(z) 2.55 nats a code, p(z|m) 2.47; 6.27 and 6.28 bits/dim
    samples        Fréchet distance 7.0, precision 0.67, recall 0.80 (training images: 2.0, 0.87, 0.87; codes drawn
                   alike, without a prior: 33, 0.52, 0.02)
    hidden pixels  error of the mean of 16 draws given m 0.0446 (z drawn without looking at it: 0.0700), CRPS 0.057
                   (0.083); 50, 80 and 95 % intervals hold 50, 81 and 95 % of them
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="single_decoder")
