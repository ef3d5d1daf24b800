"""`mtvae_jax.train`: the command's run in a process that is somebody else's, such as a notebook."""

import contextlib
import functools
import os
import sys

from ml_collections import ConfigDict

from mtvae_jax.cli.one_run import begin, carry_out
from mtvae_jax.errors import UserError, warn
from mtvae_jax.process import distributed, environment
from mtvae_jax.process.stopping import Interrupted, StopRequest
from mtvae_jax.study.config import is_study
from mtvae_jax.trained.model import load
from mtvae_jax.training.loop import Stopped
from mtvae_jax.workdir.directory import user_path

_WARNING = "WARNING: "  # what `prepare` begins lines with that nobody should miss


@environment.own_numbers
def train(config, workdir=None, *, progress=True):
    """Trains, or goes on training, the run that `config` describes, and returns its model: see `mtvae_jax.train`."""
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise UserError(f"config: is of type {kind}; must be a config, as mtvae_jax.configs.gauss_multi() makes one")
    if is_study(config):
        raise UserError("config: is of a study, which is many runs; the command mtvae --config=thesis runs it")
    workdir = None if workdir is None else user_path(workdir)
    stop = StopRequest()
    with contextlib.ExitStack() as meanwhile:
        meanwhile.enter_context(environment.polite())
        stream = sys.stdout
        if not (progress and distributed.is_main()):
            stream = meanwhile.enter_context(open(os.devnull, "w", encoding="utf-8"))
        run = begin(config, workdir, warn=functools.partial(_tell, stream), stream=stream)
        stopped = False
        try:
            carry_out(*run, stop_requested=stop, stream=stream)
        except (Stopped, Interrupted):  # an own traceback would say what is no news to whoever has stopped it
            stopped = True
        if not stopped:
            return load(run.workdir)
        print(f"stopped; the same call goes on ({run.workdir})", file=stream, flush=True)
    stop.pass_on()
    raise KeyboardInterrupt  # whoever heeds that signal goes on, but there is no model to return


def _tell(stream, text):
    """A warning as Python has them, of a silent run too: that data are others than asked for is not progress."""
    if text.startswith(_WARNING):
        warn(" ".join(line.removeprefix(_WARNING) for line in text.splitlines()))
    else:
        print(text, file=stream, flush=True)
