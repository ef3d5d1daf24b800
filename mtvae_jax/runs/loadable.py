"""Reads the best of runs back, in a process of its own: python -m mtvae_jax.runs.loadable RUN RUN …"""

import json
import os
import subprocess
import sys
from pathlib import Path


def loadable(paths):
    """Returns {path: None where `mtvae_jax.load` can load its best model and prior, else why not, in one line}.

    JAX is started on the CPU and elsewhere, because a process that has accelerators keeps them from others.
    """
    answers = dict.fromkeys(paths, "reading it back has failed")
    if not answers:
        return answers
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "mtvae_jax.runs.loadable", *(os.path.abspath(path) for path in answers)]
    result = subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return answers | dict(zip(answers, map(json.loads, result.stdout.splitlines()), strict=False))


def main(paths):
    import mtvae_jax

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else the process prints must not get among the answers
    for path in paths:
        try:
            mtvae_jax.load(path)
            answers.write("null\n")
        except Exception as error:
            answers.write(json.dumps(" ".join(str(error).split())[:300] or type(error).__name__) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
