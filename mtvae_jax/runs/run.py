"""A run as its files tell of it, read with distrust: whatever a crash or a hand has left, there is an answer."""

import contextlib
import dataclasses
import json
import math
import os
import re
import stat
from pathlib import Path

from mtvae_jax.errors import number_of

COMPLETE, STOPPED, FAILED, RUNNING, EMPTY, DAMAGED = "complete", "stopped", "failed", "running", "empty", "damaged"
TO_COME = "to come"  # a second stage not yet begun

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # as metrics.jsonl spells them
# Without one of these a checkpoint cannot be restored.
_CHECKPOINT_FILES = ("_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt", "record/metadata",
                     "metrics/metrics")


class Damaged(Exception):
    """A file is not what it should be: the message names it and says how."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """**path**; **step**: of training; **whole**: all its files are there; **score**: validation loss, infinite in the
    middle of an epoch or where it is unknown."""

    path: Path
    step: int
    whole: bool
    score: float


@dataclasses.dataclass(frozen=True)
class Stage:
    """**directory**: of its metrics, checkpoints and summary; **state**; **epoch**: done so far; **epochs**: to be
    done; **best_epoch**: so far, None before the first; **best_step**: of a complete stage, else None; **metrics**: of
    the best epoch: {"val/loss": …, "test/loss": …}, the latter when complete; **summary**: of a complete stage, else
    {}; **checkpoints**: by step; **seconds_per_epoch**: None where it is unknown."""

    directory: Path
    state: str
    epoch: int
    epochs: int
    best_epoch: int | None
    best_step: int | None
    metrics: dict
    summary: dict
    checkpoints: tuple
    seconds_per_epoch: float | None


@dataclasses.dataclass
class Run:
    """**path**: of the work directory; **name**: to call it by; **size**: bytes on disk; **touched**: seconds since
    1970; **holders**: what uses it, in words; **problem**: why it is damaged, or None; **model**: the first `Stage`,
    None where it cannot be known; **prior**: the second, None without one; **prior_state**: its state, None for a run
    that has no second stage; **config**: {"train.epochs": 100, …}; **about**: {"data.fingerprint": …, "versions.jax":
    …, "device": …}; **metrics**: of both stages and the judge: {"val/loss": …, "prior/val/loss": …,
    "generation/samples/…": …}."""

    path: Path
    name: str
    size: int
    touched: float
    holders: tuple = ()
    problem: str | None = None
    model: Stage | None = None
    prior: Stage | None = None
    prior_state: str | None = None
    config: dict = dataclasses.field(default_factory=dict)
    about: dict = dataclasses.field(default_factory=dict)
    metrics: dict = dataclasses.field(default_factory=dict)

    @property
    def state(self):
        return DAMAGED if self.problem is not None else _now(self.model, self.holders)


def read_run(path, name, holders=()):
    """Reads everything there is to know of the run in a folder and returns a `Run`; never an error."""
    run = Run(path, name, *usage(Path(os.path.realpath(path))), tuple(holders))  # of a link to a run what it leads to
    try:
        _read(run, path)
    except Damaged as damage:
        run.problem = str(damage)
    return run


def prior_folders(path):
    """Returns the folders of second stages in a run, of these settings and of others."""
    return [entry for entry in entries(path) if re.fullmatch(r"prior-[0-9a-f]{8}", entry.name) and os.path.isdir(entry)]


def read_json(path):
    """Reads the object in a JSON file, None where there is no file. **Raises:** `Damaged`."""
    content = _read_bytes(path)
    if content is None:
        return None
    try:
        values = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is not JSON ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(values, dict):
        raise Damaged(f"{path.name} holds no object")
    return values


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def entries(folder):
    """Returns paths of what is in a folder, by name; none where it does not exist or may not be looked into."""
    try:
        return sorted(Path(folder).iterdir())
    except OSError:
        return []


def is_real_folder(path):
    """Tells whether it is a folder itself, and not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def usage(path):
    """Returns (bytes on disk, seconds since 1970 of the last change) of a file, or of a folder and all in it.

    Bytes as `du` counts them: in blocks, a file of several names once. Links are not followed. Folders change with what
    is deleted from them: they say when only where there is no file.
    """
    size, touched, folder_touched, seen, waiting = 0, 0.0, 0.0, set(), [path]
    while waiting:
        path = waiting.pop()
        try:
            found = path.lstat()
        except OSError:  # gone meanwhile
            continue
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        size += 512 * found.st_blocks if hasattr(found, "st_blocks") else found.st_size
        if stat.S_ISDIR(found.st_mode):
            folder_touched = max(folder_touched, found.st_mtime)
            waiting += entries(path)
        else:
            touched = max(touched, found.st_mtime)
    return size, touched or folder_touched


def _read(run, path):
    """Fills in what the files say, as far as they are whole. **Raises:** `Damaged`."""
    description = _description(path)
    run.config = _flat(description["config"])
    versions, data = description.get("versions"), description["data"]
    images = data.get("images")
    run.about = {f"data.{name}": data[name] for name in ("fingerprint", "provenance") if name in data}
    run.about |= _flat({"versions": versions if isinstance(versions, dict) else {}})
    run.model = _stage(path, run.config["train.epochs"], images.get("train") if isinstance(images, dict) else None)
    run.about |= {name: value for name, value in run.model.summary.items() if name == "device"}
    run.metrics = dict(run.model.metrics)
    run.prior = _prior(path, description, run.model)
    if run.prior is not None:
        run.prior_state = _now(run.prior, run.holders)
        run.metrics |= {f"prior/{name}": value for name, value in run.prior.metrics.items()}
    elif description.get("second_stage"):  # runs of version 0.1.0 do not say whether one is to come
        run.prior_state = TO_COME
    judged = read_json(path / "generation.json") or {}
    parts = _flat({name: value for name, value in judged.items() if name != "of"}, "/", "generation/")
    run.metrics |= {name: value for name, value in parts.items() if is_number(value)}


def _now(stage, holders):
    return RUNNING if holders and stage.state != COMPLETE else stage.state


def _description(path):
    description = read_json(path / "config.json")
    if description is None:
        raise Damaged("config.json is missing")
    if not all(isinstance(description.get(part), dict) for part in ("config", "data")):
        raise Damaged("config.json is not the description of a run")
    config = description["config"]
    for section, field, is_right in (
        ("model", "latent", lambda value: isinstance(value, str)),
        ("model", "method", lambda value: isinstance(value, str)),
        ("train", "epochs", is_integer),
    ):
        if not isinstance(config.get(section), dict) or field not in config[section]:
            raise Damaged(f"config.json has no {section}.{field}")
        if not is_right(config[section][field]):
            raise Damaged(f"config.json says {section}.{field} = {config[section][field]!r}")
    return description


def _stage(directory, epochs, num_images=None):
    """**Raises:** `Damaged`."""
    records = _read_records(directory / "metrics.jsonl")
    checkpoints = _checkpoints(directory / "checkpoints")
    whole = [checkpoint.step for checkpoint in checkpoints if checkpoint.whole]
    speed = records[-1].get("images_per_second") if records else None
    timed = is_number(num_images) and is_number(speed) and speed > 0
    rest = {"epochs": epochs, "checkpoints": checkpoints, "seconds_per_epoch": num_images / speed if timed else None}
    summary = read_json(directory / "summary.json") or {}
    if summary and not all(is_integer(summary.get(name)) for name in ("epochs", "best_epoch", "steps")):
        raise Damaged("summary.json is not the summary of a run")
    # One that was complete and is being made longer has a summary of before
    early = summary.get("stopped_early")
    if summary and epochs in (summary["epochs"], early.get("epochs") if isinstance(early, dict) else None):
        best_step = summary["steps"] // max(1, summary["epochs"]) * summary["best_epoch"]
        if best_step not in whole:
            raise Damaged(f"{directory.name}/checkpoints/{best_step}, the best, is missing or not whole")
        return Stage(directory, COMPLETE, summary["epochs"], best_epoch=summary["best_epoch"], best_step=best_step,
                     metrics=_metrics(summary, ("val/", "test/")), summary=summary, **rest)
    if checkpoints and not whole:
        raise Damaged(f"{directory.name}/checkpoints: none is whole, files are missing or of another version")
    if len(records) > 1 and not whole:
        raise Damaged(f"checkpoints are missing, metrics.jsonl tells of {number_of(len(records), 'epoch')}")
    epoch = min(_epoch_at(max(whole), records), epochs) if whole else 0
    done = [record for record in records if record["epoch"] <= epoch and is_number(record.get("val/loss"))]
    best = min(done, key=lambda record: _or_worst(record["val/loss"]), default={})
    # One whose numbers went wrong would go wrong again
    failed = os.path.lexists(directory / "failure.json")
    return Stage(directory, FAILED if failed else STOPPED if whole else EMPTY, epoch, best_epoch=best.get("epoch"),
                 best_step=None, metrics=_metrics(best, "val/"), summary={}, **rest)


def _metrics(values, prefix):
    return {name: value for name, value in values.items() if name.startswith(prefix) and is_number(value)}


def _checkpoints(folder):
    found = [entry for entry in entries(folder) if re.fullmatch("[0-9]+", entry.name) and os.path.isdir(entry)]
    return tuple(sorted(map(_checkpoint, found), key=lambda checkpoint: checkpoint.step))


def _checkpoint(path):
    loss = None
    with contextlib.suppress(Damaged):
        loss = (read_json(path / "metrics" / "metrics") or {}).get("val/loss")
    whole = all(os.path.isfile(path / name) for name in _CHECKPOINT_FILES)
    return Checkpoint(path, int(path.name), whole, _or_worst(loss))


def _or_worst(loss):
    return loss if is_number(loss) and math.isfinite(loss) else math.inf


def _epoch_at(step, records):
    """Whole epochs done at a step, as metrics.jsonl knows how many steps an epoch has."""
    for record in records:
        if is_integer(record.get("step")) and record["step"] >= record["epoch"] > 0:
            return step // (record["step"] // record["epoch"])
    return 0


def _prior(path, description, model):
    """The second stage that `mtvae_jax.load` takes: of these settings, on the best model there is."""
    wanted = description["config"].get("prior")
    best = min((c for c in model.checkpoints if c.whole), key=lambda c: c.score, default=None)
    step = model.best_step or (best.step if best else 0)
    found = {}  # folder → its settings
    for folder in prior_folders(path):
        try:
            about = read_json(folder / "config.json") or {}
        except Damaged as damage:
            raise Damaged(f"{folder.name}: {damage}") from damage
        settings = about.get("settings", about.get("prior"))  # version 0.1.0 does not name those that came later
        if about.get("model_step") == step and _agree(settings, wanted):
            found[folder] = settings
    if not found:
        return None
    folder = max(found, key=lambda folder: len(found[folder]))
    try:
        if not is_integer(wanted.get("epochs")):
            raise Damaged(f"config.json says prior.epochs = {wanted.get('epochs')!r}")
        return _stage(folder, wanted["epochs"])
    except Damaged as damage:
        raise Damaged(f"{folder.name}: {damage}") from damage


def _agree(settings, others):
    """Tells whether two sections of settings have the same values where both have one."""
    if not isinstance(settings, dict) or not isinstance(others, dict):
        return False
    return all(others.get(name, value) == value for name, value in settings.items())


def _read_bytes(path):
    """None where there is no file. **Raises:** `Damaged`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error


def _read_records(path):
    """The records of a metrics.jsonl, oldest first; of two with the same epoch the later one, and no torn last line.

    **Raises:** `Damaged`.
    """
    lines = (_read_bytes(path) or b"").rstrip().split(b"\n")
    records = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not is_integer(record["epoch"]):
                raise ValueError
            records[record["epoch"]] = {
                name: _NON_FINITE.get(value, value) if isinstance(value, str) else value
                for name, value in record.items()
            }
        except (ValueError, TypeError, KeyError, RecursionError):
            if number < len(lines):
                raise Damaged(f"{path.name}, line {number} is not the record of an epoch") from None
    return [records[epoch] for epoch in sorted(records)]


def _flat(values, separator=".", prefix=""):
    """{"a": {"b": 1}} as {"a.b": 1}."""
    result = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= _flat(value, separator, f"{name}{separator}") if isinstance(value, dict) else {name: value}
    return result
