"""Any few pixels, and the rest: one decoder p(x|z, m) and p(z|m), learned together, for any number of revealed pixels.

    python launch.py --config=configs/pixels_gauss.py:fashion_mnist

No model of the thesis: `model.merge="context"` reads the revealed pixels at every scale, and `prior.joint` learns
p(z|m) along with the model, by the error of the mean of its draws too.

Not trained to its end yet.
"""

from mtvae_jax.config import thesis_config


def get_config(dataset="mnist"):
    config = thesis_config(dataset, latent="gaussian", method="single_decoder")
    config.model.latent_dim = 32
    config.model.merge = "context"
    config.conditioning.exponent = 4.0  # any number of pixels, a fifth of them on average
    config.prior.joint = True
    config.train.epochs = 40
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 1.0
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.999
    return config
