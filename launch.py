"""Trains a model: python launch.py --config=configs/gauss_multi.py [--config.section.field=value …] [--workdir=DIR]

python launch.py --help has all options. Where the package is installed, `mtvae` is the same command, everywhere. Exit
status: 0 done; 2 the command, a setting or a file is wrong, and one line on stderr says how to mend it; 75 stopped by a
signal or Ctrl-C, the same command goes on; 1 anything else.
"""

import sys

from mtvae_jax.cli.main import command, main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(command())
