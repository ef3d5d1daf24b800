"""From the start of the process to the first step of training, and how much of it is compiling.

    python -m benchmarks.start_up                       # gauss_multi and vq_multi on the sample that comes with us
    python -m benchmarks.start_up --latents=gaussian --methods=plain --dataset=npz:my.npz

Each run is `launch.py` with the model's file in `configs/`, in a process and a work directory of its own. The first
finds an empty cache of compiled programs, the second what the first has left there.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import ROOT, Benchmark, Table, command
from mtvae_jax.config import model_name

COLD, CACHED = "cold", "cached"

# One epoch of the first stage, and no more of it than the first step needs.
_SHORT = ("train.epochs=1", "prior.epochs=0", "generation.num_samples=0", "data.max_train=512")


def measure(config, images, *, rounds, seconds, dataset):
    """Starts once each, whatever `rounds` and `seconds` are.

    **Returns:** {"cold", "cached"} → {"first_step_seconds": since the start of the process, "compile_seconds": of the
    training program}.
    """
    with tempfile.TemporaryDirectory() as directory:
        return {name: _launch(model_name(config), dataset, Path(directory), name) for name in (COLD, CACHED)}


def _launch(model, dataset, directory, name):
    workdir = directory / name
    settings = [f"--config.{setting}" for setting in _SHORT]
    settings += [f"--config=configs/{model}.py:{dataset}", f"--workdir={workdir}"]
    command = [sys.executable, "launch.py", *settings]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(directory / "cache")}
    start = time.time()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
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


def rows(name, figures):
    for cache, times in figures.items():
        yield name, cache, f"{times['first_step_seconds']:.1f}", f"{times['compile_seconds']:.1f}"


COLUMNS = ("model", "compiled programs", "first step after, s", "compiling the training program, s")
BENCHMARK = Benchmark(
    "start",
    measure,
    (Table("From the start of the process to the first step", COLUMNS, rows),),
    seconds=0.0,
    options={"dataset": ("mnist_sample", "what to train on")},
)

if __name__ == "__main__":
    command(__doc__, BENCHMARK)
