"""Trains a model: python launch.py --config=configs/gauss_multi.py [--config.section.field=value …] [--workdir=DIR]

python launch.py --help has all options. Exit status: 0 done; 2 the command, a setting or a file is wrong, and one line
on stderr says how to mend it; 75 stopped by a signal or Ctrl-C, the same command goes on; 1 anything else.
"""

import functools
import os
import sys
import traceback

from mtvae_jax import __version__
from mtvae_jax.errors import UserError
from mtvae_jax.process.progress import unfailing_output
from mtvae_jax.process.stopping import Interrupted, StopRequest, end_at_once, interruptible


def main(argv):
    with unfailing_output():
        return _main(argv)


def _main(argv):
    try:
        with interruptible():
            # Here and in `run`, because imports take a second in which a process may be asked to stop
            from mtvae_jax.cli import command_line

            if "--version" in argv:
                print(f"mtvae_jax {__version__}")
                return 0
            if set(command_line.HELP) & set(argv):
                print(command_line.help_for(argv), end="")
                return 0
            return run(command_line.parse(argv))
    except UserError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print("stopped; the same command goes on")
        return 75
    except BrokenPipeError:
        # The reader of the output has gone (`| head`): nobody is left to be told, and the same command goes on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        traceback.print_exc()
        return 1


def run(arguments):
    # Here, so that a mistyped option is told before all of this is imported.
    from mtvae_jax.cli.closing import judgement, stage_result
    from mtvae_jax.cli.dry_run import dry_run
    from mtvae_jax.cli.prepare import prepare
    from mtvae_jax.config import has_second_stage, to_dict
    from mtvae_jax.judging.judge import judge
    from mtvae_jax.process import distributed, environment
    from mtvae_jax.study.config import is_study
    from mtvae_jax.training.first_stage import train
    from mtvae_jax.training.loop import Stopped
    from mtvae_jax.training.second_stage import train_prior
    from mtvae_jax.workdir.directory import default_workdir

    environment.configure()
    distributed.start()
    if not distributed.is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  one process speaks for all
    if is_study(arguments.config):
        if arguments.finish:
            raise UserError("--finish: ends one run; for a study give it with the --workdir of each run")
        return study(arguments)
    environment.require_device()
    warn = functools.partial(print, file=sys.stderr)
    config, dataset = distributed.main_first(lambda: prepare(arguments.config, warn=warn))
    workdir = arguments.workdir or default_workdir(config, dataset)
    distributed.require_same((to_dict(config), dataset.fingerprint, str(workdir), arguments.finish))
    if arguments.dry_run:
        say(dry_run(config, dataset, workdir))
        return 0
    print(f"work directory: {workdir}")
    with StopRequest() as stop_requested:
        how = {"finish": arguments.finish, "stop_requested": stop_requested}
        try:
            say(stage_result("model", train(config, dataset, workdir, **how)))
            if has_second_stage(config):
                say(stage_result("prior", train_prior(config, dataset, workdir, **how)))
        except Stopped:
            print(f"stopped after saving; the same command goes on ({workdir})")
            return 75
    say(judgement(judge(config, dataset, workdir)))
    return 0


def study(arguments):
    from mtvae_jax.study.dry_run import dry_run
    from mtvae_jax.study.study import run_study
    from mtvae_jax.training.loop import Stopped

    if arguments.dry_run:
        say(dry_run(arguments.config))
        return 0
    with StopRequest() as stop_requested:
        try:
            failures = run_study(arguments.config, arguments.workdir, stop_requested=stop_requested)
        except Stopped:
            on_slurm = arguments.config.where == "slurm"
            print("stopped; the jobs go on, and the same command finds them" if on_slurm else
                  "stopped after saving; the same command goes on")
            return 75
    for workdir, error in failures.items():
        print(f"launch.py: {workdir}: {error}", file=sys.stderr)
    return 1 if failures else 0


def say(lines):
    """Each as soon as it is there."""
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    end_at_once()
    sys.exit(main(sys.argv))
