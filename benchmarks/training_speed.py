"""Training speed against a PyTorch twin of the same models, on the same machine at the same time.

    python -m benchmarks.training_speed                         # all eight models on the sample that the package ships
    python -m benchmarks.training_speed --images=npz:my.npz --latents=vq --methods=plain --peers=eager --rounds=9

All competitors are processes that take turns. Before, a step with the same parameters, masks and noise shows that the
twin computes the same outputs and gradients. PyTorch comes with the extra `bench`; without it ours is timed alone.
"""

import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Benchmark, Table, command, spread
from benchmarks.processes import Team
from benchmarks.training import write_job
from benchmarks.turns import ratio, take_turns
from mtvae_jax.methods import METHODS

OURS = "mtvae_jax"

# Differences of rounding are a thousandth of this.
_SAME = 1e-4

# What helps PyTorch on CPUs: memory that is kept instead of given back a thousand times a step, and threads that do not
# spin while others work.
_PYTORCH_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def measure(config, images, *, rounds, seconds, peers):
    """Measures all competitors.

    **Arguments:** `peers`: modes of the PyTorch twin, with commas between them.

    **Returns:** {"competitors": name → {"images_per_second": a list, one a round, "peak_bytes": None if unknown,
    "parameters", …}; "difference_of_the_twin": see `benchmarks.twin.port.max_difference`, None without PyTorch}.
    """
    modes = [mode for mode in peers.split(",") if mode] if importlib.util.find_spec("torch") else []
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        write_job(Path(directory), config, images)
        difference = _difference(directory) if modes else None
        commands = {OURS: (["benchmarks.training", directory], {})}
        for mode in modes:
            commands[f"PyTorch {mode}"] = (["benchmarks.twin.worker", directory, mode], _PYTORCH_ENVIRONMENT)
        teams = {name: stack.enter_context(Team([process])) for name, process in commands.items()}
        times = take_turns(teams, rounds=rounds, seconds=seconds)
    competitors = {
        name: team.facts
        | {
            "images_per_second": [config.train.batch_size / time for time in times[name]],
            "peak_bytes": team.peak_bytes,
        }
        for name, team in teams.items()
    }
    counts = {name: figures["parameters"] for name, figures in competitors.items()}
    if len(set(counts.values())) != 1:
        raise RuntimeError(f"these are not the same model, by their numbers of parameters: {counts}")
    return {"competitors": competitors, "difference_of_the_twin": difference}


def _difference(directory):
    command = [sys.executable, "-m", "benchmarks.twin.port", directory]
    difference = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if not max(difference.values()) < _SAME:
        raise RuntimeError(f"the twin is not the same function, by its differences from ours: {difference}")
    return difference


def rows(name, figures):
    ours = figures["competitors"][OURS]["images_per_second"]
    for competitor, result in figures["competitors"].items():
        speeds, peak = result["images_per_second"], result["peak_bytes"]
        yield (
            name,
            f"{result['parameters']:,}",
            competitor,
            f"{statistics.median(speeds):,.0f}",
            "" if competitor == OURS else spread(ratio(ours, speeds), ".2f"),
            "" if peak is None else f"{peak / 2**20:,.0f} MiB",
        )


COLUMNS = ("model", "parameters", "competitor", "images/s", "ours / theirs", "peak memory")
BENCHMARK = Benchmark(
    "training",
    measure,
    (Table("Training", COLUMNS, rows),),
    seconds=2.0,
    options={"peers": ("eager,channels_last,compile", "the PyTorch twin's modes; empty for none")},
)

if __name__ == "__main__":
    command(__doc__, BENCHMARK, methods=",".join(METHODS), seconds=4.0)
