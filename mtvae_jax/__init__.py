"""Multitask variational autoencoders in JAX.

    import mtvae_jax
    model = mtvae_jax.load("runs/gauss_multi-mnist-…")
    model.reconstruct(images, mask)

Everything else is a module of its own: `mtvae_jax.conditioning`, `mtvae_jax.losses`, `mtvae_jax.models`, …
"""

__version__ = "0.2.0"


def load(workdir, which="best", *, prior=True):
    """The model that a run trained; see `mtvae_jax.trained.model.load`."""
    from mtvae_jax.trained.model import load  # jax takes a second: only those who load a model pay for it

    return load(workdir, which, prior=prior)
