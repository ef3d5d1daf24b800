"""Multitask variational autoencoders in JAX.

    import mtvae_jax
    model = mtvae_jax.train(mtvae_jax.configs.gauss_multi("fashion_mnist", train__epochs=20))
    model = mtvae_jax.load("runs/gauss_multi-mnist-…")
    model.reconstruct(images, mask)

Everything else is a module of its own: `mtvae_jax.conditioning`, `mtvae_jax.losses`, `mtvae_jax.models`, …
"""

__version__ = "0.2.0"


def load(workdir, which="best", *, prior=True):
    """Returns the model that a run trained; see `mtvae_jax.trained.model.load`."""
    from mtvae_jax.trained.model import load  # jax takes a second: only those who load a model pay for it

    return load(workdir, which, prior=prior)


def train(config, workdir=None, *, progress=True):
    """Trains the run that `config` describes, both stages and judging, and returns its best model.

    It is the run that the command `mtvae` makes of this config: the same files, the same bits; a call that was stopped
    goes on, and a complete run is loaded. Ctrl-C saves, then is a `KeyboardInterrupt`; in a thread no signal arrives.

    What the process has settled stays as it is: JAX's devices, their memory, XLA_FLAGS. In several processes call
    `jax.distributed.initialize` first, and this in each of them.

    **Arguments:** `config`: as `mtvae_jax.configs` makes them; `workdir`: the run's folder, by default runs/NAME-HASH;
    `progress`: False says nothing.
    **Returns:** a `mtvae_jax.trained.model.Model`. **Raises:** `mtvae_jax.errors.UserError`, one line that says what is
    wrong and how to mend it.
    """
    from mtvae_jax.cli.from_python import train

    return train(config, workdir, progress=progress)


def __getattr__(name):
    if name == "configs":  # as an attribute, without an import of its own
        import importlib

        return importlib.import_module("mtvae_jax.configs")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
