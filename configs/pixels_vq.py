"""Any few pixels, and the rest, by codes: one decoder p(x|codes, m), and a PixelCNN p(codes|m) as second stage.

    python launch.py --config=configs/pixels_vq.py:fashion_mnist

No model of the thesis; beside `pixels_gauss.py`, whose network for any number of pixels it has, its draws are of codes
on a grid, so that what the revealed pixels leave open may have several shapes.

MNIST with --config.conditioning.sampling=mixture and --config.train.epochs=8, validation images (2026-11-29): error
0.0021 from the codes and 0.0015 from codes and pixels, 24 minutes on one CPU core. The second stage has not been
trained to its end.
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="vq", method="single_decoder")
    config.model.hidden_dims = (32, 64)
    config.model.residual_layers = 2
    config.model.merge = "context"
    config.model.factors = 64
    config.conditioning.exponent = 4.0  # any number of pixels, a fifth of them on average
    for stage in (config.train, config.prior):
        stage.epochs = 12
        stage.learning_rate = 2e-3
        stage.schedule = "cosine"
        stage.warmup_epochs = 1.0
        stage.clip_norm = 1.0
        stage.ema_decay = 0.999
    config.prior.hidden_dim = 32
    return config
