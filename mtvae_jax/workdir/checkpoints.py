"""Checkpoints of a run: the latest and the best, saved atomically while training goes on, and known to be whole."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from mtvae_jax.errors import UserError, first_line
from mtvae_jax.process.distributed import on_main
from mtvae_jax.process.quiet import quiet
from mtvae_jax.workdir.directory import set_aside

_SCORE = "val/loss"
_LATEST = 2  # the last one may be damaged
_MOST_READS = 20  # of a folder in which a training run replaces checkpoints faster than they are read
_UNFINISHED = ".orbax-checkpoint-tmp"
# The SHA-256 of every file of a checkpoint: orbax reads most flipped bits without a word.
_CHECKSUMS = "sha256.json"
# Where old checkpoints go before they are deleted, so that none is ever half there under its own name.
_DELETED = "deleted"
_OVERHEAD = 1 << 20  # bytes: the many small files of a checkpoint
_MAKE_ROOM = "make room, and the same command goes on from the last checkpoint; or give another --workdir"
# orbax measures its timeouts by the clock on the wall, which may be put forward.
_NEVER = 10**8  # seconds
# The main process works without the others, which orbax would wait for.
_ALONE = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})


class DamagedCheckpoint(UserError):
    """A checkpoint whose files are not what was saved. `reason`: in words."""

    def __init__(self, path, reason):
        super().__init__(
            f"{path}: is damaged ({reason}); restore it from a copy; without one delete it, and summary.json if there "
            "is one, and the same command goes on without it"
        )
        self.reason = reason

    def __reduce__(self):
        return UserError, self.args


class Restored(NamedTuple):
    """**state**; **record**: as they were saved; **notes**: lines to tell the user."""

    state: Any
    record: dict
    notes: list


class Checkpoints:
    """The folder `checkpoints/` of a run. A checkpoint is a state and a small record in JSON; its name is the step.

    **Arguments:** `directory`: is made where it does not exist, unless `read_only`.
    **Raises:** `UserError` where it cannot be.
    """

    @on_main
    def __init__(self, directory, *, read_only=False):
        self.directory = Path(directory).absolute()
        self._read_only = read_only
        if not read_only:
            with _writing(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self):
        self._scores = {step: _read_score(self.directory / str(step)) for step in _steps(self.directory)}
        self._clear()
        # Named beforehand, or a new process could not ask for an item's types before it restores one.
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=_ALONE),
            "record": ocp.JsonCheckpointHandler(multiprocessing_options=_ALONE),
        }
        with quiet(), _writing(self.directory):
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self,
                best_fn=lambda metrics: metrics[_SCORE],  # or metrics would not be written
                best_mode="min",
                todelete_subdir=None if self._read_only else _DELETED,
                cleanup_tmp_directories=not self._read_only,
                async_options=ocp.AsyncOptions(
                    timeout_secs=_NEVER, post_finalization_callback=self._write_checksums
                ),
                create=False,
                read_only=self._read_only,
                multiprocessing_options=_ALONE,
                lightweight_initialize=True,  # orbax need not know the metrics, and would fail where they are damaged
            )
            self._manager = ocp.CheckpointManager(self.directory, item_handlers=handlers, options=options)

    @on_main
    def save(self, state, record, *, metrics=None):
        """Saves in the background; a reader sees all of it or nothing.

        **Arguments:** `state`: a `TrainState` of host arrays; `record`: JSON values kept beside it; `metrics`: the
        validation metrics, None in the middle of an epoch: such a state is the latest, never the best.
        **Raises:** `UserError` where the disk is full, be it that the checkpoint before did not fit.
        """
        step = int(state.step)
        metrics = {_SCORE: math.inf} if metrics is None else metrics
        items = ocp.args.Composite(state=ocp.args.StandardSave(_fields(state)), record=ocp.args.JsonSave(record))
        with _writing(self.directory):
            self._manager.wait_until_finished()  # what it did not save is not to push out what it did
            self._clear()
            _require_room(self.directory, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
            self._scores[step] = _score(metrics)
            self._manager.save(step, args=items, metrics=metrics)
        self._scores = {step: score for step, score in self._scores.items() if step in self._worth_keeping()}

    @property
    @on_main
    def latest_step(self):
        """The step of the newest checkpoint, None without any."""
        return max(self._scores, default=None)

    @property
    @on_main
    def best_step(self):
        """The step of the checkpoint with the lowest validation loss, the first of equals; None without any.

        **Raises:** `UserError` where the files that say which is best are damaged.
        """
        for step, score in self._scores.items():
            if score is None:
                raise DamagedCheckpoint(self.directory / str(step), "metrics/metrics is not as it was saved")
        return self._best()

    def restore(self, template, step):
        """Returns the state and the record saved at `step`.

        **Arguments:** `template`: a state of arrays or `jax.ShapeDtypeStruct` with the shapes and types to expect.
        **Raises:** `UserError` where the checkpoint is damaged or of another model.
        """
        leaves, record = self._restore(template, step)
        return _state(template, leaves), record

    @on_main
    def _restore(self, template, step):
        """The same, of the state its leaves: what all processes can be told."""
        abstract = _abstract(_fields(template))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore())
        with _whole(self.directory / str(step)) as path:
            _check_same_model(self._manager.item_metadata(step).state, abstract, path)
            restored = self._manager.restore(step, args=items)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(restored.state)], restored.record

    def restore_variables(self, template, step):
        """Returns what evaluation uses of the state saved at `step`, without the optimiser's: the moving average of
        parameters and batch statistics where there is one.

        **Arguments:** `template`: {"params": …, "batch_stats": …}, arrays or their shapes.
        **Returns:** the same, host arrays. **Raises:** as `restore`.
        """
        return jax.tree.unflatten(jax.tree.structure(template), self._restore_variables(template, step))

    @on_main
    def _restore_variables(self, template, step):
        with _whole(self.directory / str(step)) as path:
            saved, wanted = self._manager.item_metadata(step).state, _abstract(template)
            wanted = wanted if saved["average"] is None else {"average": wanted}
            _check_same_model({name: saved[name] for name in wanted}, wanted, path)
            handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=_ALONE)
            arguments = ocp.args.PyTreeRestore(
                wanted, ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
            )
            restored = handler.restore(path / "state", args=arguments)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(restored)]

    def restore_latest(self, template):
        """Returns the newest state that is whole. Damaged ones are set aside: they keep their files under another name.

        **Arguments:** `template`: as for `restore`.
        **Returns:** `Restored`, None where nothing has been saved yet.
        **Raises:** `UserError` where no checkpoint is whole, or the newest whole one is of another model.
        """
        restored = self._restore_latest(template)
        if restored is None:
            return None
        leaves, record, notes = restored
        return Restored(_state(template, leaves), record, notes)

    @on_main
    def _restore_latest(self, template):
        restored, damaged = None, {}
        for step in sorted(self._scores, reverse=True):
            try:
                if restored is None:
                    restored, latest = self._restore(template, step), step
                elif (reason := _damage(self.directory / str(step))) is not None:
                    damaged[step] = reason
            except DamagedCheckpoint as damage:
                damaged[step] = damage.reason
        if restored is None and damaged:
            reasons = ", ".join(f"{step}: {reason}" for step, reason in damaged.items())
            raise UserError(
                f"{self.directory}: no checkpoint is whole ({reasons}); restore one from a copy, or start again with "
                "another --workdir"
            )
        if restored is None:
            return None
        best = self._best()
        notes = []
        for step, reason in damaged.items():
            notes.append(
                f"WARNING: {self.directory / str(step)} is damaged ({reason}) and kept as {self._set_aside(step)}; "
                + (f"training goes on from step {latest:,}" if step > latest else "training goes on without it")
                + (", and the best epoch will be one of the others" if step == best else "")
            )
        if damaged:
            self._manager.close()
            self._open()
        return (*restored, notes)

    @on_main
    def prune(self):
        """Deletes, of a training that is complete, all but the best, and the latest, to go on from."""
        with _writing(self.directory):
            self._manager.wait_until_finished()
            for step in self._scores.keys() - {self.latest_step, self._best()}:
                self._manager.delete(step)
                del self._scores[step]
            self._clear()

    @on_main
    def wait(self):
        """Returns once everything saved so far is on disk."""
        with _writing(self.directory):
            self._manager.wait_until_finished()

    @on_main
    def close(self):
        self.wait()
        self._manager.close()
        self._clear()

    def should_preserve(self, checkpoints, *, context):
        """For orbax, which asks while it saves what is to stay."""
        del context
        kept = self._worth_keeping()
        return [checkpoint.step in kept for checkpoint in checkpoints]

    def _worth_keeping(self):
        return {*sorted(self._scores)[-_LATEST:], self._best()}

    def _best(self):
        # Without any whole epoch the newest; what is damaged is known by then, or of no account.
        scores = {step: math.inf if score is None else score for step, score in self._scores.items()}
        return min(scores, key=lambda s: (scores[s], s if scores[s] < math.inf else -s), default=None)

    def _clear(self):
        if not self._read_only:
            shutil.rmtree(self.directory / _DELETED, ignore_errors=True)

    def _set_aside(self, step):
        """Renames the folder of a checkpoint; returns its new name."""
        target = set_aside(self.directory / str(step))
        with _writing(self.directory):
            os.rename(self.directory / str(step), target)
        return target.name

    def _write_checksums(self):
        """For orbax, which calls it in the background when all is written but the folder not yet renamed."""
        for folder in self.directory.glob(f"*{_UNFINISHED}*"):
            # orbax still changes the files at the top, which nothing depends on
            files = sorted(path for path in folder.glob("*/**/*") if path.is_file())
            checksums = {str(path.relative_to(folder)): _sha256(path) for path in files}
            (folder / _CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n")


def read_checkpoint(directory, template, which):
    """Reads the variables of a run that may be in training: a checkpoint that makes way for another meanwhile is not
    damaged.

    **Arguments:** `directory`: the folder `checkpoints/`; `template`: as for `Checkpoints.restore_variables`; `which`:
    "best" or "latest".
    **Returns:** the variables and their step, None where nothing has been saved yet.
    **Raises:** `UserError` where the checkpoint is damaged or of another model.
    """
    directory = Path(directory).absolute()
    for left in reversed(range(_MOST_READS)):
        steps = _steps(directory)
        try:
            with contextlib.closing(Checkpoints(directory, read_only=True)) as checkpoints:
                step = checkpoints.best_step if which == "best" else checkpoints.latest_step
                return None if step is None else (checkpoints.restore_variables(template, step), step)
        except UserError:
            if not left or _steps(directory) == steps:
                raise


def _abstract(tree):
    """Shapes and types of host arrays that orbax is to restore."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=device), tree)


def _fields(state):
    """A state as a dict. What came later and is not in use is left out, as it was before: `TrainState.balance`. Another
    tree stays as it is."""
    if not dataclasses.is_dataclass(state):
        return state
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    later = {field.name for field in dataclasses.fields(state) if field.default is None}
    return {name: value for name, value in values.items() if value is not None or name not in later}


def _state(template, leaves):
    """A state like `template`, of the leaves of its `_fields`."""
    tree = jax.tree.unflatten(jax.tree.structure(_fields(template)), leaves)
    return template.replace(**tree) if dataclasses.is_dataclass(template) else tree


def _steps(directory):
    try:
        return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal() and path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}; make it a folder that can be read, or restore it") from error


def _score(metrics):
    # Not finite is worst: a NaN would win every comparison and push the true best out.
    value = float(metrics[_SCORE])
    return value if math.isfinite(value) else math.inf


def _read_score(path):
    """The validation loss of a checkpoint; None where that is damaged."""
    try:
        content = (path / "metrics" / "metrics").read_bytes()
        checksums = _checksums(path)
        if checksums is not None and checksums["metrics/metrics"] != hashlib.sha256(content).hexdigest():
            return None
        return _score(json.loads(content))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


@contextlib.contextmanager
def _whole(path):
    """For reading a checkpoint. **Raises:** `DamagedCheckpoint` where its files are not those that were saved."""
    if (reason := _damage(path)) is not None:
        raise DamagedCheckpoint(path, reason)
    try:
        with quiet():
            yield path
    except UserError:
        raise
    except Exception as error:  # orbax raises a dozen kinds for files that it cannot read
        raise DamagedCheckpoint(path, first_line(error)) from error


def _damage(path):
    """Why the files of a checkpoint are not those that were saved, None if they are, as far as is known."""
    try:
        checksums = _checksums(path)
    except (OSError, ValueError, TypeError):
        return f"{_CHECKSUMS} cannot be read"
    for name, checksum in (checksums or {}).items():
        try:
            if _sha256(path / name) != checksum:
                return f"{name} is not as it was saved"
        except FileNotFoundError:
            return f"{name} is missing"
        except (OSError, ValueError) as error:
            return f"{name!r} cannot be read, {first_line(error)}"
    return None


def _checksums(path):
    """{file: SHA-256}, None for a checkpoint from before there were any."""
    try:
        checksums = json.loads((path / _CHECKSUMS).read_text())
    except FileNotFoundError:
        return None
    if not isinstance(checksums, dict):
        raise TypeError
    return checksums


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _writing(directory):
    """What the operating system refuses is for the user to mend; orbax hands it on in many forms."""
    try:
        yield
    except Exception as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if isinstance(error, UserError) or not (isinstance(error, OSError) or code):
            raise
        reason = os.strerror(int(code[1])) if code else error.strerror or str(error)
        raise UserError(f"{directory}: cannot be written ({reason}); {_MAKE_ROOM}") from error


def _require_room(directory, num_bytes):
    """Asked beforehand, because orbax fails with a traceback from every thread it has."""
    needed, free = num_bytes * 5 // 4 + _OVERHEAD, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(f"{directory}: needs {needed / 1e6:.1f} MB, the disk has {free / 1e6:.1f}; {_MAKE_ROOM}")


def _check_same_model(saved, abstract, path):
    """orbax casts silently; a state of other shapes or types is a state of another model or program."""
    found, wanted = _layout(saved), _layout(abstract)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            what, how = "is not of the model in config.json", "restore the one or the other"
            if found.keys() != wanted.keys():  # of another model of this version, shapes differ
                what = f"was written by an older version of this project, or {what}"
                how = f"use the version that config.json names, {how}"
            raise UserError(
                f"{path}: {what}: {name} is {found.get(name, 'missing')}, must be {wanted.get(name, 'missing')}; "
                f"{how}, or give another directory with --workdir"
            )


def _layout(tree):
    """{"params/encoder/bias": "float32 [8]", …}"""
    return {
        jax.tree_util.keystr(key, simple=True, separator="/"): f"{np.dtype(leaf.dtype)} {list(leaf.shape)}"
        for key, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
