"""python -m mtvae_jax.runs"""

import sys

from mtvae_jax.runs.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
