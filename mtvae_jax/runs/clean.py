"""What can go from a folder of runs, and its going.

By default what no program will ever read again. With `best_only` also what only a longer training of a complete run
would start from: its latest state, where that is not the best one. Such a run stays what it is; made longer, it goes on
from its best epoch, and the epochs after that are trained once more, to the same bits.
"""

import dataclasses
import math
import os
import re
import shutil
import time
from pathlib import Path

from mtvae_jax.runs.find import OF_A_RUN, Found, Holders, looks_like_run, never_begun
from mtvae_jax.runs.run import COMPLETE, DAMAGED, EMPTY, entries, is_real_folder, prior_folders, read_run, usage
from mtvae_jax.runs.words import span

HOUR, DAY = 3600.0, 86400.0

_UNFINISHED = ".orbax-checkpoint-tmp"
# As the writers of these files name them before they are whole.
_TEMPORARY = re.compile(
    r"(config|summary|failure|generation|posteriors)\.tmp|\.metrics\.jsonl\.\d+\.tmp|\..+\.png\.\d+-\d+\.tmp|lock"
)
# As `Checkpoints` and `MetricLog` rename what they found damaged
_SET_ASIDE = re.compile(r"(\d+|metrics\.jsonl)\.damaged(-\d+)?")


def _is_empty(folder):
    try:
        return not any(folder.iterdir())
    except OSError:
        return False  # no folder, or may not be looked into


# Where it lies in the folder of a stage, what it is called and is, and in words. No link is any of these.
_RUBBISH = (
    ((".", "figures"), _TEMPORARY, os.path.isfile, "a temporary file"),
    ((".", "figures"), _SET_ASIDE, os.path.isfile, "a damaged file that was set aside"),
    (("checkpoints",), re.compile(f".*{re.escape(_UNFINISHED)}.*"), os.path.isdir, "a half-written checkpoint"),
    (("checkpoints",), re.compile("deleted"), os.path.isdir, "a half-deleted checkpoint"),
    (("checkpoints",), _SET_ASIDE, os.path.isdir, "a damaged checkpoint that was set aside"),
    ((".",), OF_A_RUN, _is_empty, "an empty folder"),
)
_EVERY_RUN = ("config.json", "metrics.jsonl", "checkpoints", "figures", "tensorboard")


@dataclasses.dataclass(frozen=True)
class Item:
    """**path**: within the folder, "." for all of it; **what**: in words; **size**: bytes on disk; **needs_best**:
    goes only once the run's best has been read back."""

    path: str
    what: str
    size: int
    needs_best: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """**items**: what can go from one folder; **left_alone**: why none of it goes now, or None."""

    folder: Path
    name: str
    items: tuple
    left_alone: str | None


def make_plans(found, *, best_only=False, idle=None):
    """Looks for what can go.

    **Arguments:** `found`: a `find.Found`; `best_only`: see above; `idle`: seconds since the last change for which
    a folder is taken to be in use; None: an hour, three epochs if that is more, a day before anything was saved.
    **Returns:** a list of `Plan`s, one for each folder that has something to go or is damaged.
    """
    holders = Holders()
    plans = [_plan(path, name, holders, best_only, idle) for path, name in found.runs.items()]
    for path, name in found.empty.items():
        size, touched = usage(path)
        items = (Item(".", "an empty folder, made for a run", size),)
        plans.append(Plan(path, name, items, _recent(touched, DAY if idle is None else idle)))
    return [plan for plan in plans if plan.items or plan.left_alone]


def delete(plan, *, best_only=False, idle=None, loadable=()):
    """Deletes what a plan says, as far as a new look at the folder says so too.

    **Arguments:** `best_only`, `idle`: as the plan was made with; `loadable`: paths of runs whose best was read back.
    **Returns:** the `Item`s that have gone, and {path within the folder: why it could not be deleted}.
    """
    here = {plan.folder: plan.name}
    is_run = looks_like_run(plan.folder)
    found = Found(here if is_run else {}, here if not is_run and never_begun(plan.folder) else {})
    gone, failures = [], {}
    for now in make_plans(found, best_only=best_only, idle=idle):
        if now.left_alone is not None:
            return gone, {".": now.left_alone}
        still = {(item.path, item.what) for item in now.items}
        root = Path(os.path.realpath(plan.folder))
        for item in plan.items:
            if (item.path, item.what) in still and (plan.folder in loadable or not item.needs_best):
                try:
                    _delete(root, root / item.path)
                    gone.append(item)
                except OSError as error:
                    failures[item.path] = error.strerror or str(error)
    return gone, failures


def _plan(path, name, holders, best_only, idle):
    run = read_run(path, name, holders.of(path))
    if run.state == DAMAGED:
        return Plan(path, name, (), f"damaged: {run.problem}")
    items = tuple(_items(run, best_only))
    if items and run.holders:
        return Plan(path, name, items, run.holders[0])
    if idle is None:
        idle = max(HOUR, 3 * (run.model.seconds_per_epoch or 0.0), DAY if run.model.state == EMPTY else 0.0)
    return Plan(path, name, items, _recent(run.touched, idle) if items else None)


def _items(run, best_only):
    if run.model.state == EMPTY and not prior_folders(run.path):
        if _nothing_else_in(run.path):
            yield Item(".", "a run that never saved anything", run.size)
        return
    for folder in (run.path, *filter(is_real_folder, prior_folders(run.path))):
        yield from _rubbish(run.path, folder)
    for stage in filter(None, (run.model, run.prior)):
        if is_real_folder(stage.directory / "checkpoints"):
            yield from _checkpoints(run.path, stage, best_only)
    if best_only and run.prior is not None and run.prior.state == COMPLETE and is_real_folder(run.prior.directory):
        posteriors = run.prior.directory / "posteriors.npz"
        if os.path.isfile(posteriors) and not os.path.islink(posteriors):
            yield _item(run.path, posteriors, "what the second stage was trained on, made again when needed", True)


def _rubbish(root, folder):
    for places, name, is_one, what in _RUBBISH:
        for place in places:
            for entry in entries(folder / place) if place == "." or is_real_folder(folder / place) else ():
                if name.fullmatch(entry.name) and is_one(entry) and not os.path.islink(entry):
                    yield _item(root, entry, what)


def _checkpoints(root, stage, best_only):
    """Of a stage that has others: those with files missing, as deleting an old one was cut short; of a complete one
    also those that are neither best nor latest, unless its files do not agree on which is best."""
    real = [checkpoint for checkpoint in stage.checkpoints if is_real_folder(checkpoint.path)]
    if any(checkpoint.whole for checkpoint in stage.checkpoints):
        for checkpoint in real:
            if not checkpoint.whole:
                yield _item(root, checkpoint.path, "a checkpoint with files missing")
    whole = [checkpoint for checkpoint in real if checkpoint.whole]
    best = next((checkpoint for checkpoint in whole if checkpoint.step == stage.best_step), None)
    if best is None or not math.isfinite(best.score) or best.score > min(checkpoint.score for checkpoint in whole):
        return
    *_, latest = whole
    for checkpoint in whole:
        if checkpoint not in (best, latest):
            yield _item(root, checkpoint.path, f"an old checkpoint; the best is {best.step}, the latest {latest.step}")
    if best_only and latest is not best:
        yield _item(root, latest.path, f"the latest checkpoint of a complete stage; the best is {best.step}", True)


def _item(root, path, what, needs_best=False):
    return Item(str(path.relative_to(root)), what, usage(path)[0], needs_best)


def _recent(touched, idle):
    age = time.time() - touched
    if idle == 0 or age >= idle:
        return None
    if age < 0:
        return "its files are from the future: is the clock right?"
    return f"changed {span(age)} ago, and may be in use; --idle says how long to wait"


def _nothing_else_in(path):
    """Whether a folder holds what a run makes and nothing else, and no links."""
    if not all(entry.name in _EVERY_RUN or _TEMPORARY.fullmatch(entry.name) for entry in entries(path)):
        return False
    return not any(
        os.path.islink(os.path.join(folder, name))
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )


def _delete(root, path):
    """**Raises:** `OSError`, also for what has become a link on the way."""
    for part in (path, *path.parents):
        if part == root:
            break
        if part.is_symlink():
            raise OSError(0, f"{part} is a link")
    if path == root:
        return _delete_run(root)
    if not path.is_dir():
        return path.unlink()
    if path.parent.name == "checkpoints" and _UNFINISHED not in path.name:
        # Killed in the middle, what is left must not look like a checkpoint
        path = path.rename(path.with_name(f"{path.name}{_UNFINISHED}-{os.getpid()}"))
    return shutil.rmtree(path)


def _delete_run(root):
    """Its config.json last: killed in the middle, it is still a run that never saved anything."""
    for entry in sorted(entries(root), key=lambda entry: entry.name == "config.json"):
        if is_real_folder(entry):
            shutil.rmtree(entry)
        else:
            entry.unlink()
    root.rmdir()
