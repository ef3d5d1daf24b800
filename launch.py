"""Trains a model: python launch.py --config=configs/gauss_multi.py [--config.section.field=value …] [--workdir=DIR]

Exit status: 0 done; 2 the command, a setting or a file is wrong, and one line on stderr says how to mend it; 75 stopped
by SIGTERM or Ctrl-C after saving, the same command goes on; 1 anything else.
"""

import sys
import traceback

from mtvae_jax import command_line
from mtvae_jax.errors import UserError


def main(argv):
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(command_line.USAGE, end="")
        return 0
    try:
        return run(command_line.parse(argv))
    except UserError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


def run(arguments):
    # Here, so that a mistyped option is told before jax is imported.
    from mtvae_jax import environment
    from mtvae_jax.prepare import prepare
    from mtvae_jax.stopping import StopRequest
    from mtvae_jax.train import Stopped, train
    from mtvae_jax.workdir import default_workdir

    environment.configure()
    config, dataset = prepare(arguments.config, warn=lambda text: print(text, file=sys.stderr))
    workdir = arguments.workdir or default_workdir(config, dataset)
    print(f"work directory: {workdir}")
    with StopRequest() as stop_requested:
        try:
            summary = train(config, dataset, workdir, stop_requested=stop_requested)
        except Stopped:
            print(f"stopped after saving; the same command goes on ({workdir})")
            return 75
    print(result(summary))
    return 0


def result(summary):
    """The figures that a run ends with, in a line."""
    figures = {name.removeprefix("test/"): value for name, value in summary.items() if name.startswith("test/")}
    text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    return f"complete: {summary['epochs']} epochs, best {summary['best_epoch']}; test {text}"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
