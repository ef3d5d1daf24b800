"""Plain VQ-VAE (thesis 2.2, figure 2.3), then a Gated PixelCNN over its codes (2.5.1).

    python launch.py --config=configs/vq_plain.py

To expect, on two CPU cores without a GPU (2026-11-23): fashion_mnist with --config.train.epochs=6: 10 minutes beside
other work (940 images/s alone); validation reconstruction 0.0050 (gauss_plain after as many epochs: 0.0104), test
reconstruction 0.0050, VQ 0.0045, perplexity 91, 96 % of 128 codes in use.

--config.model.codebook_restart=0.1 puts all codes to use where data are few: 12 epochs of mnist_sample, test
reconstruction 0.0046 and 100 % in use, against 0.0050 and 87 %.
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="vq", method="plain")
