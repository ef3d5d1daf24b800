"""Where a run can be watched besides its own files: a table of experiment trackers (`train.trackers`).

A tracker shows what a run writes down anyway, in `metrics.jsonl`, `figures/` and `summary.json`; nothing is read from
one. The packages of all but TensorBoard are extras, imported when a run uses them.
"""

from typing import Any, NamedTuple, Protocol

from mtvae_jax.trackers.tensorboard import TensorBoard
from mtvae_jax.trackers.trackio import Trackio
from mtvae_jax.trackers.wandb import WeightsAndBiases


class Run(NamedTuple):
    """What a tracker is told of a stage of a run.

    **directory**: of the stage, where a tracker may keep files; **identity**: the same whenever the stage goes on, and
    of no other stage; **name**: for people; **config**: JSON values; **resume_epoch**: epochs that are done;
    **first_step**: training steps from which on whatever an earlier attempt has shown does not count.
    """

    directory: Any
    identity: str
    name: str
    config: dict
    resume_epoch: int
    first_step: int


class Tracker(Protocol):
    """**Raises:** `UserError` where its package is missing; `OSError` where it cannot write."""

    @staticmethod
    def check() -> None:
        """Raises `UserError` where it cannot be used here, before anything is trained."""

    def __init__(self, run: Run): ...

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Shows the metrics of an epoch."""

    def image(self, name: str, pixels, step: int) -> None:
        """Shows a figure, uint8 [H, W, 3]."""

    def summary(self, values: dict[str, Any], step: int) -> None:
        """Shows the final metrics."""

    def close(self) -> None: ...


# Names of `train.trackers`.
TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio}
