"""Configs whose runs take seconds."""

from pathlib import Path

from mtvae_jax.config import check, thesis_config

ROOT = Path(__file__).parent.parent


def small_config(method="multi_decoder", dataset="mnist_sample", latent="gaussian", **overrides):
    """A config whose runs take seconds; overrides as section__field=value."""
    config = thesis_config(dataset, latent=latent, method=method)
    config.model.hidden_dims = (8, 16)
    config.model.latent_dim = 4
    config.train.batch_size = config.prior.batch_size = 32
    config.train.epochs = 2
    config.prior.epochs = 1
    config.prior.hidden_dim = 8
    config.prior.num_layers = 2
    config.prior.first_kernel_size = 3
    config.generation.num_samples = 0  # not judged
    if latent == "vq":
        config.model.residual_layers = 1
        config.model.residual_dim = 8
        config.model.codebook_size = 16
    for name, value in overrides.items():
        section, field = name.split("__")
        config[section][field] = value
    check(config)
    return config
