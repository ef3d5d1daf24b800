"""Weights & Biases: a run of its own, offline unless WANDB_MODE says otherwise."""

import os

from mtvae_jax.trackers.extras import package


class WeightsAndBiases:
    """A run below `wandb/` in the folder of the stage; `wandb sync` uploads it later.

    Its environment variables count: WANDB_MODE=online uploads while it trains, WANDB_PROJECT and WANDB_ENTITY say where
    to. A stage that goes on goes on as the same run.
    """

    @staticmethod
    def check():
        package("wandb")

    def __init__(self, run):
        wandb = package("wandb")
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mtvae_jax"),
            dir=str(run.directory),
            id=run.identity,
            name=run.name,
            config=run.config,
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def scalars(self, values, step):
        self._run.log(values, step=step)

    def image(self, name, pixels, step):
        self._run.log({name: self._image(pixels)}, step=step)

    def summary(self, values, step):
        self._run.summary.update(values)

    def close(self):
        self._run.finish()
