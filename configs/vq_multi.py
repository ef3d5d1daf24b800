"""Multi-decoder VQ-VAE (thesis 3.2.3, figures 3.3, 4.3, 4.4): p(x|z) and p(x|z, m) share one grid of codes.

    python launch.py --config=configs/vq_multi.py

To expect, on a CPU core without a GPU (2026-11-24): fashion_mnist with --config.train.epochs=6
--config.prior.epochs=8 --config.prior.hidden_dim=32, 33 minutes (450 images/s, prior 400). On test images:

    reconstruction 0.00501 from z, 0.00494 from z and 49 of 784 pixels; VQ 0.0044, quantisation error 0.8 % of the
                   variance, perplexity 98, 92 % of codes in use
    prior            p(z) 2.95 nats a code, p(z|m) 2.56; 6.49 and 6.44 bits/dim
    samples          Fréchet distance 3.7, precision 0.72, recall 0.74 (training images: 0.7, 0.87, 0.87; codes drawn
                     alike, without a prior: 40, 0.13, 0.16)
    hidden pixels    error of the mean of 16 draws given 49 pixels 0.0199 (z drawn without looking at them: 0.0865),
                     CRPS 0.047 (0.133); 50, 80 and 95 % intervals hold 53, 81 and 95 % of them
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="vq", method="multi_decoder")
    config.conditioning.sampling = "exact"
    return config
