"""Runs in this process: those that can share a program train side by side, some at a time, the others one by one."""

import contextlib
import json
import time

import jax

from mtvae_jax.config import identity, to_dict
from mtvae_jax.judging.judge import judge
from mtvae_jax.process import environment
from mtvae_jax.study.attempt import Outcome, describe, open_log
from mtvae_jax.study.in_turn import in_turn
from mtvae_jax.study.tasks import dataset_of
from mtvae_jax.training.loop import Stopped
from mtvae_jax.training.replicas import train_replicas

# What is an argument of the compiled program, and no constant in it: the seed, `objective.Knobs`, and σ², which says β
# in other words.
_MAY_DIFFER = (
    "seed",
    "loss.beta",
    "loss.variance",
    "loss.weights",
    "loss.kl_warmup_epochs",
    "conditioning.exponent",
)
# A small model leaves a GPU idle, but no CPU: there two side by side take longer than one after the other.
_ON_A_GPU = 8


def side_by_side(tasks, logs, *, replicates=None, stop_requested):
    """Trains each run as it would be trained alone, up to rounding; see `mtvae_jax.training.replicas`.

    **Arguments:** `tasks`: of `tasks.make_tasks`; `logs`: folder of the runs' text files; `replicates`: how many runs
    side by side at most, None: 8, and on a CPU 1; `stop_requested`: asked about once a second.
    **Returns:** an iterator of an `attempt.Outcome` for each task; those side by side share the time that they took.
    **Raises:** `loop.Stopped`.
    """
    environment.require_device()
    if replicates is None:
        replicates = 1 if jax.default_backend() == "cpu" else _ON_A_GPU
    for group in groups(tasks, replicates):
        outcomes = _attempt(group, logs, stop_requested) if len(group) > 1 else []
        ended = {outcome.workdir: outcome for outcome in outcomes}
        for task in group:
            alone = [] if task.workdir in ended else in_turn([task], logs, stop_requested=stop_requested)
            yield from [ended[task.workdir]] if task.workdir in ended else alone


def groups(tasks, size, steps_done=None):
    """Lists of at most `size` tasks that one program can train: on the same images, with configs that are equal but for
    `_MAY_DIFFER`, and with the same number of steps behind them. In the order of the first of each.

    **Arguments:** `steps_done`: function of a task, None for what its checkpoints say.
    """
    steps_done = steps_done or _steps_done
    found, latest = [], {}
    for task in tasks:
        program = {name: value for name, value in identity(to_dict(task.config)).items() if name not in _MAY_DIFFER}
        key = json.dumps(program, sort_keys=True), steps_done(task)
        if key not in latest or len(latest[key]) == size:
            latest[key] = []
            found.append(latest[key])
        latest[key].append(task)
    return found


def _attempt(group, logs, stop_requested):
    """An `Outcome` for each run of a group that was trained; the others are to be trained alone: what ails a group, be
    it the memory for so many or one run's files, need not ail each."""
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(open_log(logs / f"{task.workdir.name}.txt")) for task in group]
        jobs = [(task.config, task.workdir, stream) for task, stream in zip(group, streams, strict=True)]
        try:
            dataset = dataset_of(group[0].config)
            summaries = train_replicas(jobs, dataset, stop_requested=stop_requested)
            for task, stream, summary in zip(group, streams, summaries, strict=True):
                if summary is not None:
                    judge(task.config, dataset, task.workdir, stream=stream)
        except Stopped:
            raise
        except Exception as failure:
            for stream in streams:
                print(f"not side by side but one by one: {describe(failure, stream)}", file=stream)
            return []
        finally:
            jax.clear_caches()
    trained = [task for task, summary in zip(group, summaries, strict=True) if summary is not None]
    share = (time.perf_counter() - start) / len(group)
    return [Outcome(task.workdir, None, share) for task in trained]


def _steps_done(task):
    """As the names in its folder say: a damaged checkpoint is seen later, and then the group goes on one by one."""
    names = (path.name for path in (task.workdir / "checkpoints").glob("*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)
