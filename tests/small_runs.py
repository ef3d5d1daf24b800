"""Configs whose runs take seconds."""

from pathlib import Path

from mtvae_jax.config import check, resolve, thesis_config

ROOT = Path(__file__).parent.parent


def small_config(method="multi_decoder", dataset="mnist_sample", latent="gaussian", **overrides):
    """A config whose runs take seconds; overrides as section__field=value."""
    config = thesis_config(dataset, latent=latent, method=method)
    config.model.hidden_dims = (8, 16)
    config.model.latent_dim = 4
    config.train.batch_size = config.prior.batch_size = 32
    config.train.epochs = 2
    config.train.checkpoint_seconds = 0.0  # every epoch, however short
    config.prior.epochs = 1
    config.prior.hidden_dim = 8
    config.prior.num_layers = 2
    config.prior.first_kernel_size = 3
    config.train.figures_every = config.generation.num_samples = 0  # neither drawn nor judged
    if latent == "vq":
        config.model.residual_layers = 1
        config.model.residual_dim = 8
        config.model.codebook_size = 16
    for name, value in overrides.items():
        section, field = name.split("__")
        config[section][field] = value
    check(config)
    return config


def tiny_config(latent="gaussian", method="multi_decoder", **overrides):
    """The same for the images of the fixture `tiny`, resolved: a run of one epoch and a second or two."""
    tiny = {
        "data__validation": 1 / 7,
        "model__hidden_dims": (4,),
        "model__latent_dim": 2,
        "model__residual_layers": 0,
        "model__normalization": "none",
        "train__batch_size": 16,
        "train__epochs": 1,
        "prior__batch_size": 16,
        "prior__learning_rate": 1e-2,
    }
    return resolve(small_config(method, latent=latent, **tiny | overrides), (6, 6, 1))
