"""What a run leaves behind, so that two can be held against each other bit by bit."""

import hashlib
import json

import jax
import numpy as np
import orbax.checkpoint as ocp

_TIMING = ("seconds", "images_per_second")


def outcome(kind, folder):
    """{what: value or SHA-256} of all that must not depend on how often a run was killed.

    **Raises:** `AssertionError` where a line of metrics.jsonl is missing or there twice.
    """
    found = {name: _sha256(folder / name) for name in kind.tables}
    for workdir in sorted(path for pattern in kind.workdirs for path in folder.glob(pattern)):
        name = workdir.relative_to(folder)
        found |= {f"{name}/{what}": value for what, value in _of_run(workdir).items()}
    return found


def differences(one, two):
    """Names of what differs between two outcomes."""
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def _of_run(workdir):
    found = {}
    for path in sorted((workdir / "checkpoints").iterdir()):
        if path.name.isdecimal():
            found[f"checkpoints/{path.name}"] = _state(path / "state")
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    epochs = [record["epoch"] for record in records]
    assert epochs == list(range(1, len(epochs) + 1)), f"{workdir}: metrics.jsonl has epochs {epochs}"
    found["metrics"] = [_timeless(record) for record in records]
    found["summary"] = _timeless(json.loads((workdir / "summary.json").read_text()))
    for path in sorted((workdir / "figures").glob("[!.]*")):
        found[f"figures/{path.name}"] = _sha256(path)
    return found


def _state(path):
    """Over the names, types, shapes and bytes of all that training changes."""
    digest = hashlib.sha256()
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(path)
    for key, leaf in jax.tree_util.tree_leaves_with_path(state):
        leaf = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(key)} {leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return digest.hexdigest()


def _timeless(values):
    return {name: value for name, value in values.items() if not name.endswith(_TIMING)}


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
