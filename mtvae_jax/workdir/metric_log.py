"""What a run has measured, epoch by epoch: `metrics.jsonl` for programs, trackers for the eye.

A value that is not finite has no place in strict JSON: it is written as the string "nan", "inf" or "-inf" and read back
as the float it was.
"""

import hashlib
import json
import math
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mtvae_jax.errors import UserError, first_line, number_of, warn
from mtvae_jax.process.distributed import on_main
from mtvae_jax.trackers import TRACKERS, Run
from mtvae_jax.workdir.directory import read_json, set_aside

FILE_NAME = "metrics.jsonl"
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MetricLog:
    """The metrics of a run, one record an epoch; a resumed run has neither duplicate nor missing ones.

    Opened again, the log forgets every epoch after `resume_epoch`, which will be run once more, and a last line that a
    crash has torn. For no epoch to be missing, `write` an epoch's record before its checkpoint is saved.

    **Arguments:** `workdir`: of the run, made if missing; `trackers`: names of `TRACKERS`, which show it too;
    `resume_epoch`: epochs done so far, 0 to begin; `records`: of those epochs, as the checkpoint has them, from which a
    damaged or missing file is written anew; None where it has none.
    **Raises:** `UserError` if the file is damaged and there are no `records`, or it cannot be written.
    """

    @on_main
    def __init__(self, workdir, *, trackers=("tensorboard",), resume_epoch=0, records=None):
        workdir = Path(workdir)
        self._path = workdir / FILE_NAME
        self._notes = []
        with _writable(self._path):
            workdir.mkdir(parents=True, exist_ok=True)
            self._records = self._restored(resume_epoch, records)
            _replace(self._path, "".join(_line(record) for record in self._records))
        self._trackers = Trackers(trackers, workdir, resume_epoch, _step(self._records[-1]) if self._records else None)
        with _writable(self._path):
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115  open as long as the log is

    def _restored(self, resume_epoch, records):
        """The records up to a resume, of the file or, where that is not as it was written, of the checkpoint."""
        try:
            found, problem = _read(self._path), None
        except UserError as error:
            found, problem = [], error
        found = [record for record in found if record["epoch"] <= resume_epoch]
        if records is None:
            if problem is None and [record["epoch"] for record in found] != list(range(1, resume_epoch + 1)):
                problem = UserError(f"{self._path}: does not tell of all that was trained so far "
                                    f"({number_of(resume_epoch, 'epoch')}); restore the file from a copy, or give "
                                    "another directory with --workdir")
            if problem is not None:
                raise problem
            return found
        if [_line(record) for record in found] != [_line(record) for record in records]:
            kept = ""
            if self._path.exists():
                kept = f", what it was is in {shutil.copyfile(self._path, set_aside(self._path)).name}"
            self._notes.append(f"WARNING: {self._path} is damaged or missing; written again from the checkpoint{kept}")
        return list(records)

    @property
    @on_main
    def notes(self):
        """Lines to tell the user."""
        return self._notes

    @property
    @on_main
    def records(self):
        """A list of the records so far, oldest first, those of before the resume included."""
        return list(self._records)

    @on_main
    def write(self, record):
        """Appends the record of one epoch; it is on disk when this returns.

        **Arguments:** `record`: dict with `epoch`, counted from 1, and `step`, the training steps so far; its other
        values are numbers (numpy and JAX scalars too), strings, None, or lists and dicts of these. Trackers show the
        floats.
        **Raises:** `ValueError` if the epoch does not come after the last one; `UserError` if the disk is full.
        """
        record = _plain(record)
        if self._records and record["epoch"] <= self._records[-1]["epoch"]:
            raise ValueError(f"epoch {record['epoch']} is written after epoch {self._records[-1]['epoch']}")
        with _writable(self._path):
            self._file.write(_line(record))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._records.append(record)
        scalars = {name: value for name, value in record.items() if isinstance(value, float)}
        self._trackers.show(lambda tracker: tracker.scalars(scalars, _step(record)))

    @on_main
    def image(self, name, path_or_figure, step):
        """Shows a figure in the trackers, if there are any.

        **Arguments:** `name`: tag; `path_or_figure`: of a PNG file, or a matplotlib `Figure` not yet saved; `step`: the
        training step it belongs to.
        """
        self._trackers.show(lambda tracker: tracker.image(name, _pixels(path_or_figure), step))

    @on_main
    def close(self):
        """Flushes and closes the file and the trackers; closing again does nothing."""
        self._file.close()
        self._trackers.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Trackers:
    """The trackers of a stage, opened when there is something to show: the first step need not wait for their imports.

    One that fails is named in a warning and left out from then on; a full disk is a `UserError`, as everywhere.

    **Arguments:** `names`: of `TRACKERS`; `directory`: of the stage; `resume_epoch`: epochs that are done; `last_step`:
    of training, behind them, None where there is none.
    """

    def __init__(self, names, directory, resume_epoch, last_step):
        directory = Path(directory)
        first_step = 0 if last_step is None else last_step + 1
        self._open = {}
        self._unopened = dict.fromkeys(names, (directory, resume_epoch, first_step))
        if "tensorboard" in names:
            with _writable(directory / "tensorboard"):
                (directory / "tensorboard").mkdir(exist_ok=True)

    def show(self, what):
        """Applies `what` to each tracker."""
        for name, arguments in list(self._unopened.items()):
            del self._unopened[name]
            self._try(name, lambda name=name, arguments=arguments: self._open.update({
                name: TRACKERS[name](_described(*arguments))
            }))  # fmt: skip
        for name, tracker in list(self._open.items()):
            self._try(name, lambda tracker=tracker: what(tracker))

    def close(self):
        """Closes them; nothing is shown from then on."""
        trackers, self._open, self._unopened = self._open, {}, {}
        for name, tracker in trackers.items():
            self._try(name, tracker.close)

    def _try(self, name, action):
        try:
            action()
        except (ConnectionError, TimeoutError) as error:  # of a server; no OSError of the disk
            self._leave_out(name, error)
        except OSError as error:
            raise UserError(f"{name}: cannot be written ({error.strerror or error}); make room for it, or leave it out "
                            "of config.train.trackers") from error
        except UserError:
            raise
        except Exception as error:  # of somebody else's program, for which no training ends
            self._leave_out(name, error)

    def _leave_out(self, name, error):
        self._open.pop(name, None)
        warn(f"{name}: failed, and shows no more of this run ({first_line(error)})")


@on_main
def show_summary(directory, trackers, summary, *, epochs, step):
    """Shows the final metrics of a stage in its trackers. **Arguments:** `epochs`, `step`: how many have ended."""
    opened = Trackers(trackers, directory, epochs, step)
    final = {name: value for name, value in summary.items() if isinstance(value, (int, float, str))}
    opened.show(lambda tracker: tracker.summary(final, step))
    opened.close()


def _described(directory, resume_epoch, first_step):
    path = directory.resolve()
    name = path.name if not path.name.startswith("prior-") else f"{path.parent.name}/{path.name}"
    identity = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return Run(directory, identity, name, read_json(directory / "config.json") or {}, resume_epoch, first_step)


def read_metrics(workdir):
    """Returns the records of a run, also of one that is still running.

    **Arguments:** `workdir`: of the run.
    **Returns:** a list of dicts, one an epoch, oldest first; a last line not yet whole is left out.
    **Raises:** `UserError` if the folder holds no metrics or they are damaged.
    """
    path = Path(workdir) / FILE_NAME
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the work directory of a run that has been started")
    return _read(path)


@contextmanager
def _writable(path):
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room for it or choose another work "
                        "directory") from error


def _read(path):
    """The records in `path`; of two with the same epoch the later one."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    while lines and not lines[-1].strip():
        lines.pop()
    records = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = _floats(json.loads(line))
            records[record["epoch"]] = record
        except (ValueError, TypeError, KeyError):
            if number == len(lines):  # torn: the run was killed while it wrote
                break
            raise UserError(f"{path}, line {number}: not the record of an epoch; restore the file or remove the line "
                            "and what follows") from None
    return [records[epoch] for epoch in sorted(records)]


def _replace(path, text):
    """Writes `text` to `path` all at once, unless the file says so already."""
    if path.exists() and path.read_bytes() == text.encode():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _line(record):
    return json.dumps(_strings(record), allow_nan=False) + "\n"


def _step(record):
    return record.get("step", record["epoch"])


def _plain(value):
    """The same value of Python's own types; scalars of numpy and JAX become int, float or bool."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _plain(np.asarray(value).tolist())


def _strings(value):
    """Floats that are not finite as strings."""
    return _each(value, lambda item: str(item) if isinstance(item, float) and not math.isfinite(item) else item)


def _floats(value):
    """Undoes `_strings`."""
    return _each(value, lambda item: _NON_FINITE.get(item, item) if isinstance(item, str) else item)


def _each(value, function):
    if isinstance(value, dict):
        return {key: _each(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, function) for item in value]
    return function(value)


def _pixels(path_or_figure):
    """uint8 [H, W, 3]."""
    if isinstance(path_or_figure, (str, os.PathLike)):
        from PIL import Image

        with Image.open(path_or_figure) as image:
            return np.asarray(image.convert("RGB"))
    path_or_figure.canvas.draw()
    return np.asarray(path_or_figure.canvas.buffer_rgba())[..., :3]
