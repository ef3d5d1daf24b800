"""One process of a run, and the blow that ends it: at a random moment, or when the file system tells that it is in the
middle of something."""

import dataclasses
import random
import signal
import subprocess
import time
from pathlib import Path

from tests.torture.kinds import command, environment

_LOOK = 0.001  # seconds between two looks at the file system
_TIMEOUT = 600


@dataclasses.dataclass(frozen=True)
class Blow:
    """**signal**: to send; **after**: seconds, from the start or, with **target**, from the **count**-th time that
    something new is found where its glob says."""

    signal: int
    after: float
    target: str | None = None
    count: int = 1


def draw(kind, duration, *, seed, stop_share=0.15):
    """A `Blow` for a process that would take `duration` seconds unbroken."""
    chance = random.Random(seed)
    number = signal.SIGKILL
    if chance.random() < stop_share:
        number = chance.choice([signal.SIGTERM, signal.SIGINT])
    if chance.random() < 0.4:
        return Blow(number, chance.uniform(0, duration))
    name = chance.choice(sorted(kind.targets))
    return Blow(number, chance.uniform(0, 0.03), kind.targets[name], chance.randint(1, 6) if "saving" in name else 1)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """**status**: of the process, None where the blow killed it; **blow**: None where it came too late; **where**: it
    fell; **out**, **err**: what the process said; **seconds**."""

    status: int | None
    blow: Blow | None
    where: str | None
    out: str
    err: str
    seconds: float


def attempt(kind, folder, cache, blow=None):
    """Starts the run of a kind in a folder, or goes on with it, and waits for its end.

    **Returns:** `Attempt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started, since = time.monotonic(), time.time()
    with open(folder / "out.txt", "w+b") as out, open(folder / "err.txt", "w+b") as err:
        process = subprocess.Popen(
            command(kind), cwd=folder, env=environment(cache), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        try:
            struck = blow is not None and _wait(process, folder, blow)
            if struck:
                process.send_signal(blow.signal)
            status = process.wait(timeout=_TIMEOUT)
        finally:
            process.kill()
            process.wait()
    said = [(folder / name).read_text(errors="replace") for name in ("out.txt", "err.txt")]
    where = None
    if struck:
        where = "the end" if kind.end in said[0] else _where(folder, process.pid, since)
    killed = struck and blow.signal == signal.SIGKILL and status == -signal.SIGKILL
    return Attempt(None if killed else status, blow if struck else None, where, *said, time.monotonic() - started)


def stopped_well(attempt):
    """Whether a process that was asked to stop has saved and said how to go on; one that has not come to train yet, or
    has nothing left to save, may end at once."""
    if attempt.where in ("start-up", "the end") and attempt.status != 75:
        return attempt.status in (-attempt.blow.signal, 128 + attempt.blow.signal, 1)
    right = {signal.SIGTERM: (75,), signal.SIGINT: (75, 130)}[attempt.blow.signal]
    return attempt.status in right and "same command goes on" in attempt.out and "Traceback" not in attempt.err


def _wait(process, folder, blow):
    """Whether the moment came before the process ended."""
    deadline = time.monotonic() + _TIMEOUT
    if blow.target is not None:
        seen, count = set(folder.glob(blow.target)), 0
        while count < blow.count:
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
            now = set(folder.glob(blow.target))
            count += bool(now - seen)
            seen = now
    try:
        process.wait(blow.after)
    except subprocess.TimeoutExpired:
        return True
    return False


def _where(folder, pid, since):
    """What the process was at, as what it left tells."""
    if _left(folder, f"**/.*.png.{pid}-*.tmp", since):
        return "figure"
    if _left(folder, "**/*.orbax-checkpoint-tmp", since):
        return "saving"
    if not _left(folder, "**/metrics.jsonl", since):
        stage = _left(folder, "**/prior-*/config.json", since) or _left(folder, "**/posteriors.tmp", since)
        return "change of stage" if stage else "start-up"
    return "training"


def _left(folder, pattern, since):
    return [path for path in Path(folder).glob(pattern) if path.lstat().st_mtime >= since]
