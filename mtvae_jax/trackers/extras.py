"""Packages that come with an extra of the same name."""

import importlib

from mtvae_jax.errors import UserError


def package(name):
    """Imports a tracker's package. **Raises:** `UserError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"config.train.trackers: {name} is not installed; pip install 'mtvae-jax[{name}]', or leave it out"
        ) from error
