"""The command, as `launch.py` and `mtvae` have it: flags in, one job out; prints errors and picks exit statuses."""

import functools
import os
import sys
import traceback
from pathlib import Path

from mtvae_jax import __version__
from mtvae_jax.errors import UserError
from mtvae_jax.process.progress import unfailing_output
from mtvae_jax.process.stopping import Interrupted, StopRequest, end_at_once, interruptible


def command():
    """Runs the command line of this process, and returns its exit status."""
    end_at_once()
    return main(sys.argv)


def main(argv):
    """Runs the command line `argv`, the program's name first, and returns its exit status."""
    with unfailing_output():
        return _main(argv)


def _main(argv):
    try:
        with interruptible():
            # Here and in `_run`, because imports take a second in which a process may be asked to stop
            from mtvae_jax.cli import command_line

            if "--version" in argv:
                print(f"mtvae_jax {__version__}")
                return 0
            if set(command_line.HELP) & set(argv):
                print(command_line.help_for(argv), end="")
                return 0
            return _run(command_line.parse(argv), Path(argv[0]).name)
    except UserError as error:
        print(f"{Path(argv[0]).name}: {error}", file=sys.stderr)
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


def _run(arguments, program):
    # Here, so that a mistyped option is told before all of this is imported.
    from mtvae_jax.cli.dry_run import dry_run
    from mtvae_jax.cli.one_run import begin, carry_out
    from mtvae_jax.process import distributed, environment
    from mtvae_jax.study.config import is_study
    from mtvae_jax.training.loop import Stopped

    environment.configure()
    distributed.start()
    if not distributed.is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  one process speaks for all
    if is_study(arguments.config):
        if arguments.finish:
            raise UserError("--finish: ends one run; for a study give it with the --workdir of each run")
        return _study(arguments, program)
    warn = functools.partial(print, file=sys.stderr)
    run = begin(arguments.config, arguments.workdir, warn=warn, finish=arguments.finish)
    if arguments.dry_run:
        for line in dry_run(*run):
            print(line, flush=True)
        return 0
    try:
        carry_out(*run, finish=arguments.finish, stop_requested=StopRequest())
    except Stopped:
        print(f"stopped after saving; the same command goes on ({run.workdir})")
        return 75
    return 0


def _study(arguments, program):
    from mtvae_jax.study.dry_run import dry_run
    from mtvae_jax.study.study import run_study
    from mtvae_jax.training.loop import Stopped

    if arguments.dry_run:
        for line in dry_run(arguments.config):
            print(line, flush=True)
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
        print(f"{program}: {workdir}: {error}", file=sys.stderr)
    return 1 if failures else 0
