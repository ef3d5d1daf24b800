"""What can go from a folder of runs, and its going.

By default what no program will ever read again. With `best_only` also what only a longer training of a complete run
would start from: its latest state, where that is not the best one. Such a run stays what it is; made longer, it goes on
from its best epoch, and the epochs after that are trained once more, to the same bits.
"""

import contextlib
import dataclasses
import math
import os
import re
import shutil
import time
from pathlib import Path

from mtvae_jax.runs.files import entries, is_real_folder, usage
from mtvae_jax.runs.find import OF_A_RUN, Found, looks_like_run, never_begun
from mtvae_jax.runs.in_use import Holders
from mtvae_jax.runs.run import COMPLETE, DAMAGED, EMPTY, prior_folders, read_run
from mtvae_jax.runs.text import span

HOUR, DAY = 3600.0, 86400.0

# As the writers of these files name them before they are whole.
_TEMPORARY = re.compile(
    r"(config|summary|failure|generation|posteriors)\.tmp|\.metrics\.jsonl\.\d+\.tmp|\..+\.png\.\d+-\d+\.tmp|lock"
)
_UNFINISHED = ".orbax-checkpoint-tmp"
# As `Checkpoints` and `MetricLog` rename what they found damaged, and where old checkpoints go on their way out.
_DAMAGED = re.compile(r"(\d+|metrics\.jsonl)\.damaged(-\d+)?")
_DELETED = "deleted"
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

    @property
    def size(self):
        return sum(item.size for item in self.items)


def make_plans(found, *, best_only=False, idle=None):
    """**Arguments:** `found`: a `find.Found`; `best_only`: see above; `idle`: seconds since the last change for which
    a folder is taken to be in use; None: an hour, three epochs if that is more, a day before anything was saved.
    **Returns:** a list of `Plan`s, one for each folder that has something to go or is damaged.
    """
    holders = Holders()
    plans = [_plan(path, name, holders, best_only, idle) for path, name in found.runs.items()]
    plans += [_plan_empty(path, name, idle) for path, name in found.empty.items()]
    return [plan for plan in plans if plan.items or plan.left_alone]


def delete(plan, *, best_only=False, idle=None, loadable=()):
    """Deletes what a plan says, as far as a new look at the folder says so too.

    **Arguments:** `best_only`, `idle`: as the plan was made with; `loadable`: paths of runs whose best was read back.
    **Returns:** the `Item`s that have gone, and {path within the folder: why it could not be deleted}.
    """
    [now] = make_plans(_found_again(plan), best_only=best_only, idle=idle) or [None]
    gone, failures = [], {}
    if now is None or now.left_alone is not None:
        return gone, ({".": now.left_alone} if now else {})
    root = Path(os.path.realpath(plan.folder))
    for item in plan.items:
        if (item.path, item.what) not in {(new.path, new.what) for new in now.items}:
            continue
        if item.needs_best and plan.folder not in loadable:
            continue
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
    return Plan(path, name, items, _in_use(run, idle) if items else None)


def _plan_empty(path, name, idle):
    size, touched = usage(path)
    items = (Item(".", "an empty folder, made for a run", size),)
    return Plan(path, name, items, _recent(touched, DAY if idle is None else idle))


def _items(run, best_only):
    if run.model.state == EMPTY and not prior_folders(run.path):
        if _nothing_else_in(run.path):
            yield Item(".", "a run that never saved anything", run.size)
        return
    for folder in (run.path, *prior_folders(run.path)):
        if is_real_folder(folder) or folder == run.path:
            yield from _rubbish(run.path, folder)
    for stage in filter(None, (run.model, run.prior)):
        if is_real_folder(stage.directory / "checkpoints"):
            yield from _broken_checkpoints(run.path, stage)
        if stage.state == COMPLETE:
            yield from _spare_checkpoints(run.path, stage, best_only)
    if best_only and run.prior is not None and run.prior.state == COMPLETE and is_real_folder(run.prior.directory):
        posteriors = run.prior.directory / "posteriors.npz"
        if os.path.isfile(posteriors) and not os.path.islink(posteriors):
            yield _item(run.path, posteriors, "what the second stage was trained on, made again when needed", True)


def _rubbish(root, folder):
    for where in (folder, folder / "figures"):
        for entry in entries(where) if where == folder or is_real_folder(where) else ():
            if _TEMPORARY.fullmatch(entry.name) and os.path.isfile(entry) and not os.path.islink(entry):
                yield _item(root, entry, "a temporary file")
            if _DAMAGED.fullmatch(entry.name) and os.path.isfile(entry) and not os.path.islink(entry):
                yield _item(root, entry, "a damaged file that was set aside")
    checkpoints = folder / "checkpoints"
    for entry in entries(checkpoints) if is_real_folder(checkpoints) else ():
        if _UNFINISHED in entry.name and is_real_folder(entry):
            yield _item(root, entry, "a half-written checkpoint")
        if entry.name == _DELETED and is_real_folder(entry):
            yield _item(root, entry, "a half-deleted checkpoint")
        if _DAMAGED.fullmatch(entry.name) and is_real_folder(entry):
            yield _item(root, entry, "a damaged checkpoint that was set aside")
    for entry in entries(folder):
        if OF_A_RUN.fullmatch(entry.name) and is_real_folder(entry) and _is_empty(entry):
            yield _item(root, entry, "an empty folder")


def _broken_checkpoints(root, stage):
    """Those with files missing, of a stage that has others: deleting an old one was cut short."""
    if any(checkpoint.whole for checkpoint in stage.checkpoints):
        for checkpoint in stage.checkpoints:
            if not checkpoint.whole and is_real_folder(checkpoint.path):
                yield _item(root, checkpoint.path, "a checkpoint with files missing")


def _spare_checkpoints(root, stage, best_only):
    """Of a complete stage; none where its files do not agree on which is best."""
    if not is_real_folder(stage.directory / "checkpoints"):
        return
    whole = [checkpoint for checkpoint in stage.checkpoints if checkpoint.whole and is_real_folder(checkpoint.path)]
    best = next((checkpoint for checkpoint in whole if checkpoint.step == stage.best_step), None)
    if best is None or not math.isfinite(best.score) or best.score > min(checkpoint.score for checkpoint in whole):
        return
    latest = max(whole, key=lambda checkpoint: checkpoint.step)
    for checkpoint in whole:
        if checkpoint not in (best, latest):
            yield _item(root, checkpoint.path, f"an old checkpoint; the best is {best.step}, the latest {latest.step}")
    if best_only and latest is not best:
        yield _item(root, latest.path, f"the latest checkpoint of a complete stage; the best is {best.step}", True)


def _item(root, path, what, needs_best=False):
    return Item(str(path.relative_to(root)), what, usage(path)[0], needs_best)


def _in_use(run, idle):
    if run.holders:
        return run.holders[0]
    if idle is None:
        idle = max(HOUR, 3 * (run.model.seconds_per_epoch or 0.0), DAY if run.model.state == EMPTY else 0.0)
    return _recent(run.touched, idle)


def _recent(touched, idle):
    age = time.time() - touched
    if idle == 0 or age >= idle:
        return None
    if age < 0:
        return "its files are from the future: is the clock right?"
    return f"changed {span(age)} ago, and may be in use; --idle says how long to wait"


def _nothing_else_in(path):
    """Whether a folder holds what a run makes and nothing else, and no links."""
    for entry in entries(path):
        if entry.name not in _EVERY_RUN and not _TEMPORARY.fullmatch(entry.name):
            return False
    return not any(
        os.path.islink(os.path.join(folder, name))
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )


def _is_empty(folder):
    with contextlib.suppress(OSError):
        return next(folder.iterdir(), None) is None
    return False  # may not be looked into


def _found_again(plan):
    if looks_like_run(plan.folder):
        return Found({plan.folder: plan.name}, {})
    return Found({}, {plan.folder: plan.name} if never_begun(plan.folder) else {})


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
