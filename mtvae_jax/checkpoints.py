"""Checkpoints of a run: the latest and the best, saved atomically while training goes on."""

import contextlib
import math
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from mtvae_jax.distributed import on_main
from mtvae_jax.errors import UserError

_SCORE = "val/loss"
# The main process works without the others, which orbax would wait for.
_ALONE = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})


class Checkpoints:
    """The folder `checkpoints/` of a run. A checkpoint is a state and a small record in JSON; its name is the step.

    **Arguments:** `directory`: is made where it does not exist, unless `read_only`.
    """

    @on_main
    def __init__(self, directory, *, read_only=False):
        self.directory = Path(directory).absolute()
        latest = checkpoint_managers.LatestN(1)
        best = checkpoint_managers.BestN(get_metric_fn=_score, reverse=True, n=1)
        # Named beforehand, or a new process could not ask for an item's types before it restores one.
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=_ALONE),
            "record": ocp.JsonCheckpointHandler(multiprocessing_options=_ALONE),
        }
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
        with _quiet():
            options = ocp.CheckpointManagerOptions(
                # best_fn alone would let the latest go; the policy alone would not know which is best
                preservation_policy=checkpoint_managers.AnyPreservationPolicy([latest, best]),
                best_fn=_score,
                best_mode="min",
                cleanup_tmp_directories=not read_only,
                create=False,
                read_only=read_only,
                multiprocessing_options=_ALONE,
            )
            self._manager = ocp.CheckpointManager(self.directory, item_handlers=handlers, options=options)

    @on_main
    def save(self, state, record, *, metrics=None):
        """Saves in the background; a reader sees all of it or nothing.

        **Arguments:** `state`: a `TrainState` of host arrays; `record`: JSON values kept beside it; `metrics`: the
        validation metrics, None in the middle of an epoch: such a state is the latest, never the best.
        """
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)),
            metrics={_SCORE: math.inf} if metrics is None else metrics,
        )

    @property
    @on_main
    def latest_step(self):
        """The step of the newest checkpoint, None without any."""
        return self._manager.latest_step()

    @property
    @on_main
    def best_step(self):
        """The step of the checkpoint with the lowest validation loss, None without any."""
        return self._manager.best_step()

    @on_main
    def restore(self, template, step):
        """The state and the record saved at `step`.

        **Arguments:** `template`: a state of arrays or `jax.ShapeDtypeStruct` with the shapes and types to expect.
        **Raises:** `UserError` where the checkpoint is damaged or of another model.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=device), template)
        path = self.directory / str(step)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore())
        try:
            with _quiet():
                saved = self._manager.item_metadata(step).state
                restored = self._manager.restore(step, args=items)
        except Exception as error:  # orbax raises a dozen kinds for damaged files and for trees that differ
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise UserError(f"{path}: cannot be restored ({reason}); delete this folder to go on without it") from error
        _check_types(saved, abstract, path)
        return jax.tree.map(np.asarray, restored.state), restored.record

    @on_main
    def wait(self):
        """Returns once everything saved so far is on disk."""
        self._manager.wait_until_finished()

    @on_main
    def close(self):
        self.wait()
        self._manager.close()


@contextlib.contextmanager
def _quiet():
    """orbax tells through absl of every option it was given: silent meanwhile, whoever uses the package."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _score(metrics):
    # Not finite is worst: a NaN would win every comparison and push the true best out.
    value = float(metrics[_SCORE])
    return value if math.isfinite(value) else math.inf


def _check_types(saved, abstract, path):
    """orbax casts silently; a state of other types is a state of another program."""
    found, wanted = _types(saved), _types(abstract)
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise UserError(
                f"{path}: {name} is {found.get(name)}, must be {wanted[name]}; it was written by another version"
            )


def _types(tree):
    return {
        jax.tree_util.keystr(key, simple=True, separator="/"): np.dtype(leaf.dtype)
        for key, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
