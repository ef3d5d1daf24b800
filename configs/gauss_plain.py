"""Plain Gaussian VAE (thesis 2.1.2, figure 2.2): the model that the methods are compared with.

    python launch.py --config=configs/gauss_plain.py

To expect, on two CPU cores without a GPU (2026-11-23):

mnist_sample, 4,050 training images, 100 epochs: 6 minutes beside other work (3,200 images/s alone); best epoch 79, test
reconstruction 0.01043, KL 51.8 nats, 6.85 bits/dim.

fashion_mnist with --config.data.validation=0 --config.train.epochs=5, error of 10,000 test images at the best epoch:

    --config.loss.variance   KL, nats   z drawn   z = mean    with --config.train.ema_decay=0.995
    0.135                    17.9       0.01449   0.01259     0.01352 and 0.01160 at 17.7 nats
    1.0                      5.0        0.02699   0.02262     0.02622 and 0.02208 at 4.9 nats
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    return thesis_config(dataset, latent="gaussian", method="plain")
