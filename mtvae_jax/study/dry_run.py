"""What a study would do, without doing it: its runs, how many of them there are already, the time for the others."""

import statistics
from collections import defaultdict
from pathlib import Path

from mtvae_jax.config import model_name
from mtvae_jax.errors import number_of
from mtvae_jax.process.progress import duration
from mtvae_jax.study.catalogue import plan
from mtvae_jax.study.collect import read_earlier
from mtvae_jax.study.config import SETTINGS, earlier_tables, protocol_of
from mtvae_jax.study.tasks import make_tasks
from mtvae_jax.workdir.directory import read_summary


def dry_run(config):
    """**Arguments:** `config`: of `study_config`.
    **Returns:** an iterator of lines of text.
    **Raises:** `UserError` where the study itself would be refused.
    """
    protocol = protocol_of(config)
    runs = {task.workdir: task for task in make_tasks(plan(config.study, protocol), protocol, config.runs).values()}
    yield "settings:"
    yield from (f"  config.{name} = {config[name]}" for name in SETTINGS)
    yield ""
    yield f"{number_of(len(runs), 'run')} in {config.runs}/:"
    kinds = defaultdict(list)
    for task in runs.values():
        kinds[task.config.data.name, model_name(task.config)].append(task)
    earlier = read_earlier(earlier_tables(config))
    rows = [_row(*kind, tasks, earlier) for kind, tasks in sorted(kinds.items())]
    header = "dataset", "model", "runs", "complete", "begun", "to train", "time for these"
    yield from _aligned([header, *rows])
    yield ""
    yield (
        "The time is that of complete runs of the same kind, one after another on the machine that they ran on; "
        "without any it is not known."
    )


def _row(dataset, model, tasks, earlier):
    complete = [task for task in tasks if task.complete]
    left = [task for task in tasks if not task.complete and task.workdir.name not in earlier]
    begun = sum((Path(task.workdir) / "config.json").exists() for task in left)
    seconds = [read_summary(task.workdir)["wall_seconds"] for task in complete]
    time = duration(statistics.mean(seconds) * len(left)) if seconds else "not known" if left else "none"
    return dataset, model, str(len(tasks)), str(len(tasks) - len(left)), str(begun), str(len(left)), time


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
