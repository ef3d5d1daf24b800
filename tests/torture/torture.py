"""Runs of one kind, killed again and again until as many blows have fallen as were asked for."""

import dataclasses
import shutil
import signal
import time
from collections import Counter

from tests.torture.blow import attempt, draw, stopped_well
from tests.torture.outcome import differences, outcome


@dataclasses.dataclass
class Result:
    """**kills**: by SIGKILL; **stops**: by SIGTERM and SIGINT; **restarts**; **runs**: finished and compared;
    **where**: {place: kills}; **wrong**: lines on what was not as it should be; **seconds**."""

    kind: str
    kills: int = 0
    stops: int = 0
    restarts: int = 0
    runs: int = 0
    attempts: int = 0
    where: dict = dataclasses.field(default_factory=dict)
    wrong: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    done: bool = False


def torture(kind, folder, *, kills, seed=0, blows=(), undisturbed=2, tell=lambda result: None):
    """Kills runs of a kind until so many blows have fallen, goes on with each to its end, and compares it to one that
    nobody disturbed.

    **Arguments:** `kind`: `kinds.Kind`; `folder`: for the runs; `kills`: at least so many; `seed`: of the moments;
    `blows`: these first, instead of drawn ones; `undisturbed`: runs, which must be equal, the last on programs that are
    compiled already; `tell`: called with the `Result` after each process.
    **Returns:** `Result`.
    """
    blows, result, begun = list(blows), Result(kind.name), time.monotonic()
    broken, cache = folder / "broken", folder / "cache"
    expected, duration = _unbroken(kind, folder / "unbroken", cache, undisturbed)
    fresh = True
    while blows or result.kills < kills or not fresh:
        blow = None
        if blows:
            blow = blows.pop(0)
        elif result.kills < kills:
            blow = draw(kind, duration, seed=f"{seed} {kind.name} {result.attempts}")
        struck = attempt(kind, broken, cache, blow)
        result.attempts += 1
        result.restarts += not fresh
        fresh = _judge(kind, struck, broken, expected, result)
        result.seconds = time.monotonic() - begun
        tell(result)
    result.done = True
    tell(result)
    return result


def _judge(kind, struck, broken, expected, result):
    """Notes how a process ended; whether the next one begins a new run."""
    if struck.status is None:
        result.kills += 1
        result.where[struck.where] = result.where.get(struck.where, 0) + 1
        return False
    if struck.blow is not None and struck.status != 0:
        result.stops += 1
        if not stopped_well(struck):
            name = signal.Signals(struck.blow.signal).name
            result.wrong.append(f"{name} in {struck.where}: status {struck.status}, {_last(struck)}")
        return False
    if struck.status != 0:
        result.wrong.append(f"status {struck.status} after {result.restarts} restarts, {_last(struck)}")
    else:
        try:
            unequal = differences(expected, outcome(kind, broken))
            result.wrong += [f"run {result.runs}: {name} differs" for name in unequal]
        except (AssertionError, OSError) as error:
            result.wrong.append(f"run {result.runs}: {error}")
        result.runs += 1
    if result.wrong and not broken.with_name("wrong").exists():
        shutil.copytree(broken, broken.with_name("wrong"))  # to look at
    shutil.rmtree(broken)
    return True


def _unbroken(kind, folder, cache, times):
    """What a run leaves that nobody disturbs, and the seconds that it takes once everything is compiled."""
    outcomes = []
    for _ in range(times):
        shutil.rmtree(folder, ignore_errors=True)
        run = attempt(kind, folder, cache)
        if run.status != 0:
            raise RuntimeError(f"{kind.name} does not even run undisturbed: {run.err}")
        outcomes.append(outcome(kind, folder))
    if unequal := differences(outcomes[0], outcomes[-1]):
        raise RuntimeError(f"{kind.name}: two undisturbed runs differ in {', '.join(unequal)}")
    return outcomes[0], run.seconds


def table(results):
    """Lines of text."""
    head = ("kind", "kills", "stops", "restarts", "runs", "where the kills fell", "same bits", "seconds")
    rows = [
        (r.kind, str(r.kills), str(r.stops), str(r.restarts), str(r.runs),
         ", ".join(f"{place} {n}" for place, n in Counter(r.where).most_common()) or "–",
         ("no" if r.wrong else "yes") if r.done else "not done yet", f"{r.seconds:.0f}")
        for r in results
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in (head, *rows)]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return [*lines, *(f"{r.kind}: {line}" for r in results for line in r.wrong)]


def _last(struck):
    lines = struck.err.strip().splitlines() or struck.out.strip().splitlines() or ["it said nothing"]
    return lines[-1]
