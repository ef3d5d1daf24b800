"""Multi-decoder VQ-VAE (thesis 3.2.3, figures 3.3, 4.3, 4.4): p(x|z) and p(x|z, m) share one grid of codes.

    python launch.py --config=configs/vq_multi.py

To expect, on two CPU cores without a GPU (2026-11-23): fashion_mnist with --config.train.epochs=6
--config.prior.epochs=8 --config.prior.hidden_dim=32, 25 minutes beside other work (500 images/s, prior 560). On test
images:

    reconstruction 0.00510 from z, 0.00524 from z and 49 of 784 pixels; VQ 0.0043, perplexity 104, 96 % of codes in use
    prior            p(z) 2.97 nats a code, p(z|m) 2.58; 6.50 and 6.49 bits/dim
    samples          Fréchet distance 3.9, precision 0.71, recall 0.77 (training images: 0.7, 0.87, 0.87; codes drawn
                     alike, without a prior: 40, 0.13, 0.15)
    hidden pixels    error of the mean of 16 draws given 49 pixels 0.0202 (z drawn without looking at them: 0.0826),
                     CRPS 0.048 (0.129); 50, 80 and 95 % intervals hold 52, 81 and 95 % of them
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="vq", method="multi_decoder")
    config.conditioning.sampling = "exact"
    return config
