"""A run as its files tell of it: two stages, each complete, stopped somewhere, failed, empty or damaged."""

import contextlib
import dataclasses
import math
import os
import re
from pathlib import Path

from mtvae_jax.errors import number_of
from mtvae_jax.runs.files import Damaged, entries, flat, is_integer, is_number, read_json, read_records, usage

COMPLETE, STOPPED, FAILED, RUNNING, EMPTY, DAMAGED = "complete", "stopped", "failed", "running", "empty", "damaged"
TO_COME = "to come"  # a second stage not yet begun

# Without one of these a checkpoint cannot be restored.
_CHECKPOINT_FILES = ("_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt", "record/metadata",
                     "metrics/metrics")


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
    {}; **records**: of all epochs; **checkpoints**: by step; **seconds_per_epoch**: None where it is unknown."""

    directory: Path
    state: str
    epoch: int
    epochs: int
    best_epoch: int | None
    best_step: int | None
    metrics: dict
    summary: dict
    records: list
    checkpoints: tuple
    seconds_per_epoch: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """**path**: of the work directory; **name**: to call it by; **problem**: why it is damaged, or None; **model**: the
    first `Stage`, None where it cannot be known; **prior**: the second, None without one; **prior_state**: its state,
    None for a run that has no second stage; **config**: {"train.epochs": 100, …}; **about**: {"data.fingerprint": …,
    "versions.jax": …, "device": …}; **generation**: figures of the judge; **size**: bytes on disk; **touched**: seconds
    since 1970; **holders**: what uses it, in words."""

    path: Path
    name: str
    problem: str | None
    model: Stage | None
    prior: Stage | None
    prior_state: str | None
    config: dict
    about: dict
    generation: dict
    size: int
    touched: float
    holders: tuple = ()

    @property
    def state(self):
        if self.problem is not None:
            return DAMAGED
        return RUNNING if self.holders and self.model.state != COMPLETE else self.model.state


def read_run(path, name, holders=()):
    """Everything there is to know of the run in a folder; never an error."""
    size, touched = usage(Path(os.path.realpath(path)))  # of a link to a run what it leads to
    run = Run(path, name, None, None, None, None, {}, {}, {}, size, touched, tuple(holders))
    try:
        description = _description(path)
        config = flat(description["config"])
        run = dataclasses.replace(run, config=config, about=_about(description))
        model = _stage(path, config["train.epochs"], description)
        run = dataclasses.replace(run, model=model)
        if "device" in model.summary:
            run = dataclasses.replace(run, about={**run.about, "device": model.summary["device"]})
        prior = _prior(path, description, model)
        run = dataclasses.replace(run, prior=prior, prior_state=_prior_state(description, prior, holders))
        return dataclasses.replace(run, generation=_generation(path))
    except Damaged as damage:
        return dataclasses.replace(run, problem=str(damage))


def prior_folders(path):
    """The folders of second stages in a run, of these settings and of others."""
    return [entry for entry in entries(path) if re.fullmatch(r"prior-[0-9a-f]{8}", entry.name) and os.path.isdir(entry)]


def _description(path):
    description = read_json(path / "config.json")
    if description is None:
        raise Damaged("config.json is missing")
    if not all(isinstance(description.get(part), dict) for part in ("config", "data")):
        raise Damaged("config.json is not the description of a run")
    config = description["config"]
    for section, field in (("model", "latent"), ("model", "method"), ("train", "epochs")):
        if not isinstance(config.get(section), dict) or field not in config[section]:
            raise Damaged(f"config.json has no {section}.{field}")
        if section == "model" and not isinstance(config[section][field], str):
            raise Damaged(f"config.json says {section}.{field} = {config[section][field]!r}")
    if not is_integer(config["train"]["epochs"]):
        raise Damaged(f"config.json says train.epochs = {config['train']['epochs']!r}")
    return description


def _about(description):
    versions, data = description.get("versions"), description["data"]
    about = {f"data.{name}": data[name] for name in ("fingerprint", "provenance") if name in data}
    return about | flat({"versions": versions if isinstance(versions, dict) else {}})


def _stage(directory, epochs, description=None):
    """**Raises:** `Damaged`."""
    records = read_records(directory / "metrics.jsonl")
    checkpoints = _checkpoints(directory / "checkpoints")
    summary = read_json(directory / "summary.json") or {}
    if summary and not all(is_integer(summary.get(name)) for name in ("epochs", "best_epoch", "steps")):
        raise Damaged("summary.json is not the summary of a run")
    speed = _speed(records, description)
    # One that was complete and is being made longer has a summary of before
    early = summary.get("stopped_early")
    if summary and epochs in (summary["epochs"], early.get("epochs") if isinstance(early, dict) else None):
        best_step = summary["steps"] // max(1, summary["epochs"]) * summary["best_epoch"]
        if not any(checkpoint.whole and checkpoint.step == best_step for checkpoint in checkpoints):
            raise Damaged(f"{directory.name}/checkpoints/{best_step}, the best, is missing or not whole")
        metrics = _metrics(summary, ("val/", "test/"))
        return Stage(directory, COMPLETE, summary["epochs"], epochs, summary["best_epoch"], best_step, metrics, summary,
                     records, checkpoints, speed)
    whole = [checkpoint for checkpoint in checkpoints if checkpoint.whole]
    if checkpoints and not whole:
        raise Damaged(f"{directory.name}/checkpoints: none is whole, files are missing or of another version")
    if len(records) > 1 and not whole:
        raise Damaged(f"checkpoints are missing, metrics.jsonl tells of {number_of(len(records), 'epoch')}")
    epoch = min(_epoch_at(max(c.step for c in whole), records), epochs) if whole else 0
    done = [record for record in records if record["epoch"] <= epoch and is_number(record.get("val/loss"))]
    best = min(done, key=lambda record: _worst_if_not_finite(record["val/loss"]), default={})
    metrics = _metrics(best, "val/")
    state = STOPPED if whole else EMPTY
    if os.path.lexists(directory / "failure.json"):  # its numbers went wrong, and it would do so again
        state = FAILED
    return Stage(directory, state, epoch, epochs, best.get("epoch"), None, metrics, {}, records,
                 checkpoints, speed)


def _metrics(values, prefix):
    return {name: value for name, value in values.items() if name.startswith(prefix) and is_number(value)}


def _checkpoints(folder):
    found = [entry for entry in entries(folder) if re.fullmatch("[0-9]+", entry.name) and os.path.isdir(entry)]
    return tuple(sorted(map(_checkpoint, found), key=lambda checkpoint: checkpoint.step))


def _checkpoint(path):
    whole, score = all(os.path.isfile(path / name) for name in _CHECKPOINT_FILES), math.inf
    with contextlib.suppress(Damaged):
        loss = (read_json(path / "metrics" / "metrics") or {}).get("val/loss")
        score = _worst_if_not_finite(loss) if is_number(loss) else math.inf
    return Checkpoint(path, int(path.name), whole, score)


def _worst_if_not_finite(loss):
    return loss if math.isfinite(loss) else math.inf


def _epoch_at(step, records):
    """Whole epochs done at a step, as metrics.jsonl knows how many steps an epoch has."""
    for record in records:
        if is_integer(record.get("step")) and record["step"] >= record["epoch"] > 0:
            return step // (record["step"] // record["epoch"])
    return 0


def _speed(records, description):
    images = ((description or {}).get("data", {}).get("images") or {}).get("train")
    speed = records[-1].get("images_per_second") if records else None
    return images / speed if is_number(images) and is_number(speed) and speed > 0 else None


def _prior(path, description, model):
    """The second stage that `mtvae_jax.load` takes: of these settings, on the best model there is."""
    wanted = _without_unused(description["config"].get("prior"))
    best = [checkpoint for checkpoint in model.checkpoints if checkpoint.whole]
    step = model.best_step or min(best, key=lambda c: c.score, default=Checkpoint(path, 0, False, math.inf)).step
    for folder in prior_folders(path):
        try:
            about = read_json(folder / "config.json")
            if about is not None and _without_unused(about.get("prior")) == wanted and about.get("model_step") == step:
                return _stage(folder, _prior_epochs(folder, wanted))
        except Damaged as damage:
            raise Damaged(f"{folder.name}: {damage}") from damage
    return None


def _without_unused(settings):
    """As `mtvae_jax.config.prior_settings`, which needs JAX."""
    if not isinstance(settings, dict):
        return settings
    return {name: value for name, value in settings.items() if (name, value) != ("patience", None)}


def _prior_epochs(folder, settings):
    epochs = settings.get("epochs") if isinstance(settings, dict) else None
    if not is_integer(epochs):
        raise Damaged(f"config.json says prior.epochs = {epochs!r}")
    return epochs


def _prior_state(description, prior, holders):
    if prior is not None:
        return RUNNING if holders and prior.state != COMPLETE else prior.state
    # Runs of version 0.1.0 do not say whether one is to come.
    return TO_COME if description.get("second_stage") else None


def _generation(path):
    judged = read_json(path / "generation.json") or {}
    parts = {name: value for name, value in judged.items() if name != "of"}
    return {name: value for name, value in flat(parts, "/").items() if is_number(value)}
