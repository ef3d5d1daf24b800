"""One run from its config to its judgement: what `launch.py` and `mtvae_jax.train` share."""

import sys
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from mtvae_jax.cli.closing import judgement, stage_result
from mtvae_jax.cli.prepare import prepare
from mtvae_jax.config import has_second_stage, to_dict
from mtvae_jax.data import Dataset
from mtvae_jax.process import distributed, environment
from mtvae_jax.workdir.directory import default_workdir


class Run(NamedTuple):
    """**config**: resolved; **dataset**; **workdir**: of the run, which need not exist yet."""

    config: ConfigDict
    dataset: Dataset
    workdir: Path


def begin(config, workdir=None, *, warn, finish=False, stream=None):
    """Works out what is to be run, and refuses what cannot be, without touching the work directory.

    **Arguments:** `config`: as the user gives it; `workdir`: None for runs/NAME-HASH; `warn`, `stream`: as `prepare`
    has them; `finish`: as `carry_out` has it.
    **Returns:** a `Run`, the same on all processes. **Raises:** `UserError`.
    """
    environment.require_device()
    config, dataset = distributed.main_first(lambda: prepare(config, warn=warn, stream=stream))
    workdir = workdir or default_workdir(config, dataset)
    distributed.require_same((to_dict(config), dataset.fingerprint, str(workdir), finish))
    return Run(config, dataset, workdir)


def carry_out(config, dataset, workdir, *, stop_requested, finish=False, stream=None):
    """Trains both stages from wherever an earlier call stopped, then judges what the model generates.

    **Arguments:** `config`, `dataset`, `workdir`: a `Run`; `stop_requested`: a `StopRequest`, entered while there is
    training that could be saved; `finish`: ends the stage under way with its best epoch so far; `stream`: of text,
    where all that is said goes, standard output if None.
    **Raises:** `UserError`; `loop.Stopped` after saving, where a stop was requested.
    """
    from mtvae_jax.judging.judge import judge
    from mtvae_jax.training.first_stage import train
    from mtvae_jax.training.second_stage import train_prior

    stream = sys.stdout if stream is None else stream

    def say(lines):
        for line in lines:  # each as soon as it is there
            print(line, file=stream, flush=True)

    say([f"work directory: {workdir}"])
    how = {"finish": finish, "stop_requested": stop_requested, "stream": stream}
    with stop_requested:
        say(stage_result("model", train(config, dataset, workdir, **how)))
        if has_second_stage(config):
            say(stage_result("prior", train_prior(config, dataset, workdir, **how)))
    say(judgement(judge(config, dataset, workdir, stream=stream)))
