"""What a run has measured, epoch by epoch: `metrics.jsonl` for programs, TensorBoard events for the eye.

A value that is not finite has no place in strict JSON: it is written as the string "nan", "inf" or "-inf" and read back
as the float it was.
"""

import json
import logging
import math
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mtvae_jax.distributed import on_main
from mtvae_jax.errors import UserError

FILE_NAME = "metrics.jsonl"
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MetricLog:
    """The metrics of a run, one record an epoch; a resumed run has neither duplicate nor missing ones.

    Opened again, the log forgets every epoch after `resume_epoch`, which will be run once more, and a last line that a
    crash has torn. For no epoch to be missing, `write` an epoch's record before its checkpoint is saved.

    **Arguments:** `workdir`: of the run, made if missing; `tensorboard`: also write events, below
    `workdir`/tensorboard; `resume_epoch`: epochs done so far, 0 to begin.
    **Raises:** `UserError` if the file is damaged or cannot be written.
    """

    @on_main
    def __init__(self, workdir, *, tensorboard=True, resume_epoch=0):
        workdir = Path(workdir)
        self._path = workdir / FILE_NAME
        self._events, self._event_arguments = None, None
        with _writable(self._path):
            workdir.mkdir(parents=True, exist_ok=True)
            self._records = [record for record in _read(self._path) if record["epoch"] <= resume_epoch]
            _replace(self._path, "".join(_line(record) for record in self._records))
        if tensorboard:
            first_step = _step(self._records[-1]) + 1 if self._records else 0
            with _writable(workdir / "tensorboard"):
                (workdir / "tensorboard").mkdir(exist_ok=True)
            self._event_arguments = workdir / "tensorboard", first_step, resume_epoch
        with _writable(self._path):
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115  open as long as the log is

    @property
    @on_main
    def records(self):
        """A list of the records so far, oldest first, those of before the resume included."""
        return list(self._records)

    @on_main
    def write(self, record):
        """Appends the record of one epoch; it is on disk when this returns.

        **Arguments:** `record`: dict with `epoch`, counted from 1, and `step`, the training steps so far; its other
        values are numbers (numpy and JAX scalars too), strings, None, or lists and dicts of these. TensorBoard shows
        the floats.
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
        if events := self._opened_events():
            for name, value in record.items():
                if isinstance(value, float):
                    events.add_scalar(name, value, _step(record))

    @on_main
    def image(self, name, path_or_figure, step):
        """Shows a figure in TensorBoard, if there is one.

        **Arguments:** `name`: tag; `path_or_figure`: of a PNG file, or a matplotlib `Figure` not yet saved; `step`: the
        training step it belongs to.
        """
        if events := self._opened_events():
            events.add_image(name, _pixels(path_or_figure), step, dataformats="HWC")

    @on_main
    def close(self):
        """Flushes and closes both; closing again does nothing."""
        self._file.close()
        self._event_arguments = None
        if self._events is not None:
            self._events.close()
            self._events = None

    def _opened_events(self):
        # Not before there is something to write: tensorboardX takes a second that the first step need not wait for.
        if self._events is None and self._event_arguments is not None:
            with _writable(self._event_arguments[0]):
                self._events = _open_events(*self._event_arguments)
        return self._events

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_metrics(workdir):
    """The records of a run, also of one that is still running.

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


def _open_events(folder, first_step, resume_epoch):
    """An event writer; TensorBoard forgets what earlier files in `folder` say from `first_step` on."""
    from tensorboardX import SummaryWriter

    # It warns of every value that is not finite; that a run diverges is ours to say.
    logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
    # Files are named after the second they were opened in: the suffix keeps a quick resume from overwriting one.
    return SummaryWriter(str(folder), purge_step=first_step, flush_secs=1, filename_suffix=f".{resume_epoch:06d}")


def _pixels(path_or_figure):
    """uint8 [H, W, 3]."""
    if isinstance(path_or_figure, (str, os.PathLike)):
        from PIL import Image

        with Image.open(path_or_figure) as image:
            return np.asarray(image.convert("RGB"))
    path_or_figure.canvas.draw()
    return np.asarray(path_or_figure.canvas.buffer_rgba())[..., :3]
