"""The work directory of a run: its name, what it was started as, and what came out."""

import json
import os
from pathlib import Path

from mtvae_jax.config import from_dict, identity, run_hash, run_name, to_dict
from mtvae_jax.distributed import on_main
from mtvae_jax.errors import UserError

# A run may be made longer as long as no step already taken would have been another.
_MAY_GROW = "train.epochs"


def default_workdir(config, dataset, runs="runs"):
    """`runs`/NAME-HASH, the same for the same resolved config: no timestamp, so that the same command resumes."""
    return Path(runs) / f"{run_name(config, dataset.name)}-{run_hash(config)}"


@on_main
def open_workdir(workdir, config, dataset, versions):
    """Makes the directory and writes config.json, or checks that the run in it is this one.

    **Raises:** `UserError` where the directory holds another run, other data, or something else.
    """
    workdir = Path(workdir)
    run = {
        "config": to_dict(config),
        "data": describe(dataset),
        "versions": versions,
    }
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if (workdir / "config.json").exists():
            _check_same_run(workdir, config, dataset)
        elif any(workdir.iterdir()):
            raise UserError(f"{workdir}: is not empty and not the work directory of a run; give another with --workdir")
        write_json(workdir / "config.json", run)
    except OSError as error:
        raise UserError(f"{workdir}: {error.strerror}; give another directory with --workdir") from error


def describe(dataset):
    """What a run remembers of its data, as JSON values."""
    return {
        "name": dataset.name,
        "image_shape": list(dataset.image_shape),
        "images": {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
        "fingerprint": dataset.fingerprint,
        "provenance": dataset.provenance,
    }


def read_run(workdir):
    """What config.json says: {"config": …, "data": …, "versions": …}.

    **Raises:** `UserError` where it is missing or damaged.
    """
    path = Path(workdir) / "config.json"
    run = read_json(path)
    if run is None:
        raise UserError(f"{path}: does not exist; give the work directory of a run")
    if not isinstance(run, dict) or not all(isinstance(run.get(part), dict) for part in ("config", "data")):
        raise UserError(f"{path}: is not the description of a run; restore it or delete the folder")
    return run


def read_summary(workdir):
    """What summary.json says, None while the run is not complete."""
    return read_json(Path(workdir) / "summary.json")


@on_main
def write_json(path, values):
    """Writes the file whole or not at all."""
    temporary = Path(path).with_suffix(".tmp")
    with open(temporary, "w") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@on_main
def read_json(path):
    """The values in a JSON file, None where there is none. **Raises:** `UserError` where it is damaged."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore or delete it") from error


def _check_same_run(workdir, config, dataset):
    run = read_run(workdir)
    old, new = identity(to_dict(from_dict(run["config"]))), identity(to_dict(config))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        if name == _MAY_GROW and new["train.schedule"] == "constant" and (old.get(name) or 0) < new[name]:
            continue
        raise UserError(
            f"{workdir}: holds a run with config.{name} = {old.get(name)}, not {new.get(name)}; "
            "give another directory with --workdir"
        )
    if run["data"].get("fingerprint") != dataset.fingerprint:
        raise UserError(
            f"{workdir}: holds a run on other images ({run['data'].get('provenance')}) than these "
            f"({dataset.provenance}); give another directory with --workdir"
        )

