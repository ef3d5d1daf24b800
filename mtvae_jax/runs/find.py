"""Runs below a folder, at any depth, and whether a process is at work in one."""

import contextlib
import dataclasses
import os
import re
from pathlib import Path

from mtvae_jax.errors import UserError
from mtvae_jax.runs.run import Damaged, entries, is_real_folder, read_json
from mtvae_jax.workdir import lock

# In a run: there are no other runs in these.
OF_A_RUN = re.compile(r"checkpoints|figures|tensorboard|wandb|prior-[0-9a-f]{8}")
# As `mtvae_jax.workdir.directory.default_workdir` names them.
_DEFAULT_NAME = re.compile(r"[a-z]+_[a-z]+-.+-[0-9a-f]{8}", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Found:
    """**runs**: {path: name}, in the order of names; **empty**: {path: name} of folders made for runs that never came
    to write their config.json."""

    runs: dict
    empty: dict


class Holders:
    """What uses which folders: who holds the lock, processes of this machine that have files in them open, and lock
    files of other programs."""

    def __init__(self):
        self._open = {}  # real path of a file: process ids
        for process in entries("/proc"):
            if process.name.isdecimal() and int(process.name) != os.getpid():
                for descriptor in entries(process / "fd"):  # none for another user's process
                    with contextlib.suppress(OSError):
                        self._open.setdefault(os.readlink(descriptor), set()).add(int(process.name))

    def of(self, path):
        """Returns what uses a folder, in words: ("in use by process 123 on …", "process 123 has it open"), or ()."""
        inside = os.path.join(os.path.realpath(path), "")
        processes = sorted({n for file, ids in self._open.items() if file.startswith(inside) for n in ids})
        locks = [entry.name for entry in entries(path) if entry.name.endswith(".lock")]
        holder = lock.holder(path)
        return (
            *((f"in use by {holder}",) if holder else ()),
            *(f"process {number} has it open" for number in processes),
            *(f"it has a lock file, {name}; delete that if no process is at work here" for name in locks),
        )


def find(folders):
    """Finds the runs in folders and the folders in them.

    **Arguments:** `folders`: paths as the user gave them; hidden folders and links in them are not looked into.
    **Returns:** `Found`.
    **Raises:** `UserError` where one is no folder.
    """
    runs, empty, seen = {}, {}, set()
    for top in (Path(os.path.expanduser(folder)) for folder in folders):
        if not os.path.isdir(top):  # unlike Path.is_dir, never an error
            what = "is a file" if os.path.exists(top) else "does not exist"
            raise UserError(f"{top}: {what}; give the folder that your runs are in, or the work directory of one")
        waiting = [top]
        while waiting:
            path = waiting.pop()
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            name = os.path.basename(real) if path == top else str(path.relative_to(top))
            name = str(path) if len(folders) > 1 else name
            is_run = looks_like_run(path)
            if is_run:
                runs[path] = name
            elif path != top and never_begun(path):
                empty[path] = name
            waiting += [
                entry
                for entry in reversed(entries(path))
                if is_real_folder(entry) and not entry.name.startswith(".")
                and not (is_run and OF_A_RUN.fullmatch(entry.name))
            ]
    return Found(runs, empty)


def looks_like_run(path):
    """Tells whether a folder is a run, be it damaged: its config.json says so, or cannot be read, or is gone from among
    the files that only runs have.
    """
    traces = sum(os.path.exists(path / name) for name in ("metrics.jsonl", "summary.json", "checkpoints"))
    if not os.path.isfile(path / "config.json"):
        return traces > 1
    try:
        description = read_json(path / "config.json")
    except Damaged:
        return True
    if all(isinstance(description.get(part), dict) for part in ("config", "data")):
        return True
    return traces > 0 and "model_step" not in description  # which is a second stage's, of the run around it


def never_begun(path):
    """Tells whether a folder was made for a run that never came to write its config.json."""
    if not is_real_folder(path) or not _DEFAULT_NAME.fullmatch(path.name):
        return False
    return all(entry.name in ("config.tmp", "lock") for entry in entries(path))
