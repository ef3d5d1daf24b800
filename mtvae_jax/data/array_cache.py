"""Arrays kept as .npy files in a folder, found again only if whole."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from mtvae_jax.data.dataset import hash_into

MANIFEST = "arrays.json"  # written last: without it there is no cache


def load(folder, version):
    """Finds the arrays that `writing` left in `folder`.

    **Arguments:** `folder`: path; `version`: int, of whatever made the arrays.
    **Returns:** dict of name to array, memory-mapped read-only; or None where there is no such cache, it was made by
    another version, or a file of it is missing or does not have the SHA-256 that it was written with.
    """
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text())
        if manifest["version"] != version:
            return None
        arrays = {name: _open(folder, name) for name in manifest["sha256"]}
        damaged = any(_sha256(arrays[name]) != expected for name, expected in manifest["sha256"].items())
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None if damaged else arrays


@contextlib.contextmanager
def writing(folder, version):
    """Writes arrays too large for memory into `folder`; nothing is seen there until all of them are whole.

    **Arguments:** as for `load`.
    **Yields:** a function (name, shape, dtype) -> writable memory-mapped array of zeros.
    Two processes may write the same arrays at the same time.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    incomplete = Path(tempfile.mkdtemp(prefix="incomplete-", dir=folder))
    try:
        arrays = {}

        def create(name, shape, dtype):
            path = incomplete / f"{name}.npy"
            arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
            return arrays[name]

        yield create

        for array in arrays.values():
            array.flush()
        manifest = {"version": version, "sha256": {name: _sha256(array) for name, array in arrays.items()}}
        (incomplete / MANIFEST).write_text(json.dumps(manifest, indent=2))
        for file in (*(f"{name}.npy" for name in arrays), MANIFEST):
            os.replace(incomplete / file, folder / file)
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)


def _open(folder, name):
    return np.load(Path(folder) / f"{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _sha256(array):
    digest = hashlib.sha256()
    hash_into(digest, array)
    return digest.hexdigest()
