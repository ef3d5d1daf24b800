"""The VQ-VAE that deepmind/sonnet publishes for CIFAR-10 (its VQ-VAE notebook, with moving averages).

    python launch.py --config=configs/vq_cifar10_published.py

To expect, from the notebook (batch 32, 40,000 training images; normalised error = reconstruction / 0.0632704):

    step      normalised error   reconstruction   perplexity of a batch
    1,000     0.105              0.00664           72
    5,000     0.061              0.00386          327
    10,000    0.056              0.00354          326

in 269 s on a notebook GPU. Here an epoch has 1,250 steps and 8 of them are the 10,000; perplexity is reported of the
whole split, and so is larger than that of a batch of 2,048 codes. CIFAR-10 itself has not been run yet.

Two things differ: the codes start at outputs of the encoder, not at random, and activations are leaky. The notebook's
loss is MSE / variance + 0.25 · commitment with a mean over the 64 dimensions of a code; ours sums over them, hence β.
"""

from mtvae_jax.config import thesis_config

VARIANCE = 0.0632704  # of CIFAR-10's training images


def get_config(dataset="cifar10"):
    config = thesis_config(dataset, latent="vq", method="plain")
    config.data.validation = 0.2
    config.model.hidden_dims = (64, 128)
    config.model.residual_layers = 2
    config.model.residual_dim = 32
    config.model.kernel_size = 4
    config.model.normalization = "none"
    config.model.output = "linear"
    config.model.latent_dim = 64
    config.model.codebook_size = 512
    config.model.codebook_ema = 0.99
    config.loss.weights = (1.0 / VARIANCE,)
    config.loss.beta = 0.25 / config.model.latent_dim
    config.train.epochs = 8
    config.train.batch_size = 32
    config.train.learning_rate = 3e-4
    config.train.weight_decay = 0.0
    return config
