"""One run of a study, whose failure is a result and not an end."""

import time
import traceback
from pathlib import Path
from typing import NamedTuple

import jax

from mtvae_jax.errors import UserError
from mtvae_jax.judging.judge import judge
from mtvae_jax.process import environment
from mtvae_jax.study.tasks import dataset_of
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import Stopped


class Outcome(NamedTuple):
    """**workdir**: of the run; **error**: None, or why it failed, in one line; **seconds**: that it took."""

    workdir: Path
    error: str | None
    seconds: float


def attempt(config, workdir, log, *, stop_requested=lambda: False):
    """Trains a run, or goes on with it, and judges its samples where the config has it.

    **Arguments:** `config`: resolved; `workdir`: the run's; `log`: path of the text file for what the run says.
    **Returns:** `Outcome`; the traceback of an error is at the end of the log.
    **Raises:** `Stopped` after saving, where `stop_requested` said so.
    """
    start, error = time.perf_counter(), None
    with open_log(log) as stream:
        try:
            environment.require_device()
            dataset = dataset_of(config)
            train(config, dataset, workdir, stop_requested=stop_requested, stream=stream)
            judge(config, dataset, workdir, stream=stream)
        except Stopped:
            raise
        except Exception as failure:  # also memory that the device lacks: the next run may well need less
            error = describe(failure, stream)
            print(f"failed: {error}", file=stream)
    jax.clear_caches()  # a process may map only so many programs, and the files of the persistent cache remain
    return Outcome(Path(workdir), error, time.perf_counter() - start)


def open_log(path):
    """Opens the log of a run, whose lines are added to those of before."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a", encoding="utf-8")


def describe(failure, stream):
    """Returns an exception in one line; of one that no user can have caused the traceback goes to the stream."""
    if isinstance(failure, UserError):
        return str(failure)
    traceback.print_exception(failure, file=stream)
    return f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
