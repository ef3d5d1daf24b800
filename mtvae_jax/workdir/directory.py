"""The work directory of a run: its name, what it was started as, and what came out."""

import contextlib
import hashlib
import itertools
import json
import math
import os
from pathlib import Path

from mtvae_jax.config import from_dict, has_second_stage, identity, model_name, run_hash, run_name, to_dict
from mtvae_jax.data.loading import OWN
from mtvae_jax.errors import UserError
from mtvae_jax.process.distributed import on_main
from mtvae_jax.workdir.lock import FILE_NAME as LOCK
from mtvae_jax.workdir.lock import hold

# A run may be made longer or shorter as long as no step already taken would have been another.
_EPOCHS, _PATIENCE = "train.epochs", "train.patience"
_MADE_AGAIN = "restore it from a copy, or delete it: the same command makes it again"
# What orbax takes for a glob pattern when it gathers the parts of a checkpoint; a backslash is a slash to tensorstore,
# and "gs:/" the start of an address.
_MISREAD = ("*", "?", "[", "]", "\\", "gs:/")
_ALSO_ELSEWHERE = "restore it from a copy; the same command in another --workdir writes the same"


@on_main
def default_workdir(config, dataset, runs="runs"):
    """Returns `runs`/NAME-HASH, the same for the same resolved config: no timestamp, so that the same command resumes.
    Of a data file's name the characters that no path of checkpoints may have become "_".

    A user's file or folder may be named in many ways, and moved: the run of another path to the same images is the same
    run.
    """
    name = f"{run_name(config, dataset.name)}-{run_hash(config)}"
    usual = Path(runs) / "".join("_" if _misread_parts(character) else character for character in name)
    if usual.exists() or not config.data.name.startswith(tuple(OWN)) or not Path(runs).is_dir():
        return usual
    wanted = identity(to_dict(config)) | {"data.name": None}
    for path in sorted(Path(runs).iterdir()):
        with contextlib.suppress(UserError, NotADirectoryError):
            run = read_json(path / "config.json") if path.name.startswith(f"{model_name(config)}-") else None
            if not run or not _same_images(run, config, dataset):
                continue
            if identity(to_dict(from_dict(run["config"]))) | {"data.name": None} == wanted:
                return path
    return usual


def user_path(path):
    """Returns the path that a user wrote, with ~ for the home directory."""
    return Path(os.path.expanduser(path))  # unlike Path.expanduser, never an error


def set_aside(path):
    """Returns the path to keep what is damaged at: PATH.damaged, PATH.damaged-2, …, the first that nothing has."""
    paths = (path.with_name(f"{path.name}.damaged" + (f"-{n}" if n > 1 else "")) for n in itertools.count(1))
    return next(path for path in paths if not path.exists())


def require_storable(path, setting="--workdir"):
    """Refuses a folder from whose path checkpoints could not be read back.

    **Arguments:** `path`: need not exist; `setting`: by which another is given.
    **Raises:** `UserError`.
    """
    absolute = Path(path).absolute().as_posix()
    found = _misread_parts(absolute + "/")
    if found:
        raise UserError(
            f"{path}: checkpoints could not be read back from there, for {absolute} has {' and '.join(found)} in it; "
            f"rename that folder, or give another with {setting}"
        )


def _misread_parts(text):
    found = [part for part in _MISREAD if part in text]
    try:
        text.encode()
    except UnicodeEncodeError:
        found.append("bytes that are not UTF-8")
    return found


def open_workdir(workdir, config, dataset):
    """Makes the directory and writes config.json, or checks that the run in it is this one; no other process may use it
    meanwhile.

    **Returns:** a context manager: the main process' `lock.Hold`, which does nothing on the others.
    **Raises:** `UserError` where the directory holds another run, other data, or something else, or is in use.
    """
    held = []
    on_main(lambda: held.append(_open(workdir, config, dataset)))()
    return held[0] if held else contextlib.nullcontext()


def _open(workdir, config, dataset):
    workdir = Path(workdir)
    require_storable(workdir)
    run = {"config": to_dict(config), "second_stage": has_second_stage(config), "data": describe(dataset)}
    run |= {"sha256": _checksum(run)}
    try:
        _check_link(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        _check_not_of_others(workdir)
    except OSError as error:
        raise UserError(f"{workdir}: {error.strerror}; give another directory with --workdir") from error
    lock = hold(workdir)
    try:
        if (workdir / "config.json").exists():
            kept = _check_same_run(workdir, config, dataset)
            run |= {part: kept[part] for part in ("versions", "history") if part in kept}
        write_json(workdir / "config.json", run)
    except BaseException:
        lock.release()
        raise
    return lock


@on_main
def record_origin(workdir, origin):
    """Notes in config.json with what training begins or goes on, under "versions", and where it differs from before, at
    the end of "history".

    **Arguments:** `origin`: of `environment.origin`.
    **Returns:** a list of sentences, empty unless the run's steps were taken under different versions or devices.
    """
    path = Path(workdir) / "config.json"
    run = read_run(workdir)
    history = run.get("history") or ([{"versions": run["versions"]}] if "versions" in run else [])
    if not history or {**history[-1], "date": None} != {**origin, "date": None}:
        history = [*history, origin]
        write_json(path, run | {"versions": origin["versions"], "history": history})
    seen = {}  # name -> what it was, in order
    for entry in history:
        for name, value in {**entry.get("versions", {}), "device": entry.get("device")}.items():
            if name != "python" and value is not None:
                seen.setdefault(name, {})[value] = None
    changed = [f"{name} {', then '.join(values)}" for name, values in seen.items() if len(values) > 1]
    if not changed:
        return []
    return [f"trained with {'; '.join(changed)}: its bits may differ from those of a run under one of them alone"]


def examine_workdir(workdir, config, dataset):
    """Tells whether a run has begun there, without a change of anything.

    **Raises:** `UserError` where `open_workdir` would refuse it, for any reason but another process.
    """
    workdir = Path(workdir)
    require_storable(workdir)
    try:
        _check_link(workdir)
        if not workdir.exists():
            return False
        _check_not_of_others(workdir)
    except OSError as error:
        raise UserError(f"{workdir}: {error.strerror}; give another directory with --workdir") from error
    if not (workdir / "config.json").exists():
        return False
    _check_same_run(workdir, config, dataset)
    return True


def _check_link(workdir):
    """Refuses a link to nowhere, which neither exists nor can be made."""
    for path in (workdir, *workdir.parents):
        if path.is_symlink() and not path.exists():
            raise UserError(
                f"{path}: is a link to {os.readlink(path)}, which is not there; mount or make that folder, or give "
                "another directory with --workdir"
            )


def describe(dataset):
    """Returns what a run remembers of its data, as JSON values."""
    return {
        "name": dataset.name,
        "image_shape": list(dataset.image_shape),
        "images": {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
        "fingerprint": dataset.fingerprint,
        "provenance": dataset.provenance,
        **({"remarks": list(dataset.remarks)} if dataset.remarks else {}),
        **({"found": list(dataset.found)} if dataset.found else {}),
    }


def read_run(workdir):
    """Returns what config.json says: {"config": …, "data": …, "versions": …, "history": […]}.

    **Raises:** `UserError` where it is missing or damaged, or was changed by hand.
    """
    path = Path(workdir) / "config.json"
    run = read_json(path)
    if run is None:
        lost = (path.parent / "checkpoints").exists()
        raise UserError(f"{path}: does not exist; {_ALSO_ELSEWHERE if lost else 'give the work directory of a run'}")
    if not all(isinstance(run.get(part), dict) for part in ("config", "data")):
        raise UserError(f"{path}: is not the description of a run; {_ALSO_ELSEWHERE}")
    if "sha256" in run and run["sha256"] != _checksum(run):
        raise UserError(
            f"{path}: has been changed since the run wrote it; undo that, and start a run with other settings in "
            "another --workdir"
        )
    return run


def ending(epochs, settings, *, finish):
    """Returns what a summary says of the end of a stage.

    **Arguments:** `epochs`: that were trained; `settings`: the section of the config; `finish`: whether it was told to
    end.
    """
    if epochs == settings.epochs:
        return {"epochs": epochs}
    early = {"by": "--finish" if finish else "patience", "epochs": settings.epochs, "patience": settings.patience}
    return {"epochs": epochs, "stopped_early": early}


def is_complete(summary, settings):
    """Tells whether a stage has been trained as long as `settings`, its section of the config, says, or was ended
    before.

    **Arguments:** `summary`: of `read_summary`.
    """
    if summary is None or summary["epochs"] == settings.epochs:
        return summary is not None
    early = summary.get("stopped_early")
    return isinstance(early, dict) and (early["epochs"], early["patience"]) == (settings.epochs, settings.patience)


def read_summary(workdir):
    """Returns what summary.json says, None while the run is not complete. **Raises:** `UserError` where it is damaged.
    """
    path = Path(workdir) / "summary.json"
    summary = read_json(path)
    if summary is not None and not all(isinstance(summary.get(name), int) for name in ("epochs", "steps")):
        raise UserError(f"{path}: is not the summary of a run; {_MADE_AGAIN}")
    return summary


@on_main
def write_json(path, values):
    """Writes the file whole or not at all. **Raises:** `UserError` where it cannot be written."""
    temporary = Path(path).with_suffix(".tmp")
    try:
        with open(temporary, "w") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room for it, or give another directory with --workdir"
        ) from error


@on_main
def read_json(path):
    """Returns the object in a JSON file, None where there is none. **Raises:** `UserError` where it is damaged."""
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is damaged ({_one_line(error)}); {_way_out(path)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: is damaged (it holds no object); {_way_out(path)}")
    return values


def _way_out(path):
    return _ALSO_ELSEWHERE if path.name == "config.json" else _MADE_AGAIN


def _one_line(error):
    return " ".join(str(error).split())[:100]


def _checksum(run):
    """Of what a run is, by which a change of its config.json by hand is noticed."""
    values = {part: run[part] for part in ("config", "data")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_not_of_others(workdir):
    """**Raises:** `UserError` for a directory of something else; a run killed as it began has left a file or two."""
    ours = {LOCK, "config.tmp"}
    if (workdir / "config.json").exists():
        return
    if (workdir / "checkpoints").exists():
        raise UserError(f"{workdir / 'config.json'}: is missing; {_ALSO_ELSEWHERE}")
    if any(entry.name not in ours for entry in workdir.iterdir()):
        raise UserError(f"{workdir}: is not empty and not the work directory of a run; give another with --workdir")


def _check_same_run(workdir, config, dataset):
    """What config.json says. **Raises:** `UserError` unless it is of this run."""
    run = read_run(workdir)
    same_images = _same_images(run, config, dataset)
    old, new = identity(to_dict(from_dict(run["config"]))), identity(to_dict(config))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name) or (name == "data.name" and same_images):
            continue
        hint = ""
        if name == _PATIENCE and (new.get(name) or math.inf) > (old.get(name) or math.inf):
            continue
        if name == _EPOCHS and new["train.schedule"] == "constant":
            if new[name] > (old.get(name) or 0) or _trained_no_further(workdir, config, dataset):
                continue
            hint = "; more have been trained; --finish ends it where it is"
        raise UserError(
            f"{workdir}: holds a run with config.{name} = {old.get(name)}, not {new.get(name)}{hint}; "
            "give another directory with --workdir"
        )
    if run["data"].get("fingerprint") != dataset.fingerprint:
        raise UserError(
            f"{workdir}: holds a run on other images ({run['data'].get('provenance')}) than these "
            f"({dataset.provenance}); give another directory with --workdir"
        )
    return run


def _same_images(run, config, dataset):
    """Whether a run is on the images of this file or folder of the user's, whatever its path was."""
    data, name = run.get("data"), config.data.name
    return name.startswith(tuple(OWN)) and isinstance(data, dict) and data.get("fingerprint") == dataset.fingerprint


def _trained_no_further(workdir, config, dataset):
    """Whether a run can still end after the epochs of `config`: it has taken no step beyond; or it was complete by
    then, and has ended no epoch since, so that its best model and its summary are what they were."""
    folder, steps_per_epoch = Path(workdir) / "checkpoints", len(dataset.train) // config.train.batch_size
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    steps = max((int(name) for name in names if name.isdecimal()), default=0)
    summary = read_summary(workdir)
    if summary is not None and summary["epochs"] == config.train.epochs:
        return steps // steps_per_epoch == config.train.epochs
    return steps <= config.train.epochs * steps_per_epoch
