"""From the start of the process to the first step of training, and how much of it is compiling.

    python -m benchmarks.start_up                       # gauss_multi and vq_multi on the sample that comes with us
    python -m benchmarks.start_up --configs=gauss_plain --dataset=npz:my.npz

Each run is `launch.py` in a process and a work directory of its own. The first finds an empty cache of compiled
programs, the second what the first has left there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLD, CACHED = "cold", "cached"

# One epoch of the first stage, and no more of it than the first step needs.
_SHORT = ("train.epochs=1", "prior.epochs=0", "generation.num_samples=0", "data.max_train=512")


def measure(config, dataset="mnist_sample"):
    """**Arguments:** `config`: the name of a file in `configs/`.

    **Returns:** {"cold", "cached"} → {"first_step_seconds": since the start of the process, "compile_seconds": of the
    training program}.
    """
    with tempfile.TemporaryDirectory() as directory:
        cache = Path(directory) / "cache"
        return {name: _launch(config, dataset, Path(directory) / name, cache) for name in (COLD, CACHED)}


def _launch(config, dataset, workdir, cache):
    settings = [f"--config.{setting}" for setting in _SHORT]
    settings += [f"--config=configs/{config}.py:{dataset}", f"--workdir={workdir}"]
    command, environment = [sys.executable, "launch.py", *settings], {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    start = time.time()
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {run.returncode}: {run.stderr.strip()[-2000:]}")
    path = workdir / "summary.json"
    summary = json.loads(path.read_text())
    # The run's clock starts after imports and data, and is read just before the summary is written.
    before_the_clock = path.stat().st_mtime - summary["wall_seconds"] - start
    return {
        "first_step_seconds": before_the_clock + summary["first_step_seconds"],
        "compile_seconds": summary["compile_seconds"],
    }


HEADER = "| model | compiled programs | first step after, s | compiling the training program, s |\n|---|---|---|---|"


def rows(model, result):
    """The lines of a Markdown table for `measure`'s figures."""
    for cache, times in result.items():
        yield f"| {model} | {cache} | {times['first_step_seconds']:.1f} | {times['compile_seconds']:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default="gauss_multi,vq_multi")
    parser.add_argument("--dataset", default="mnist_sample")
    flags = parser.parse_args()
    print(HEADER)
    for config in flags.configs.split(","):
        print(*rows(config, measure(config, flags.dataset)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
