"""Whether a process is at work in a folder."""

import contextlib
import os
from pathlib import Path

from mtvae_jax.runs.files import entries
from mtvae_jax.workdir import lock


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
        """In words, a tuple: ("in use by process 123 on …", "process 123 has it open"), () where nothing is known."""
        inside = os.path.join(os.path.realpath(path), "")
        processes = sorted({n for file, ids in self._open.items() if file.startswith(inside) for n in ids})
        locks = [entry.name for entry in entries(Path(path)) if entry.name.endswith(".lock")]
        holder = lock.holder(path)
        return (
            *((f"in use by {holder}",) if holder else ()),
            *(f"process {number} has it open" for number in processes),
            *(f"it has a lock file, {name}; delete that if no process is at work here" for name in locks),
        )
