"""Configs whose runs take seconds."""

from pathlib import Path

from mtvae_jax.config import check, thesis_config

ROOT = Path(__file__).parent.parent


def small_config(method="multi_decoder", dataset="mnist_sample", **overrides):
    """A config whose runs take seconds; overrides as section__field=value."""
    config = thesis_config(dataset, latent="gaussian", method=method)
    config.model.hidden_dims = (8, 16)
    config.model.latent_dim = 4
    config.train.batch_size = 32
    config.train.epochs = 2
    for name, value in overrides.items():
        section, field = name.split("__")
        config[section][field] = value
    check(config)
    return config
