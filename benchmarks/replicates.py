"""Several trainings as one program against one after another: throughput for each number of replicates.

    python -m benchmarks.replicates                              # of gauss_multi
    python -m benchmarks.replicates --latents=gaussian,vq --replicates=1,2,4,8,16

Replicates differ in their seed. A ratio is of the images that a program trains on in all, a second, to those of one
training alone: what is above 1 is worth batching.
"""

import statistics

import jax

from benchmarks.harness import Benchmark, Table, command
from benchmarks.training import Training, objective_of
from benchmarks.turns import ratio, take_turns


def measure(config, images, *, rounds, seconds, replicates):
    """Measures each number of replicates.

    **Arguments:** `replicates`: numbers of them, with commas between them.

    **Returns:** number → {"images_per_second": a list, one a round, "ratio": median, "compile_seconds"}.
    """
    # On GPUs every number costs a compilation and the choice of its convolutions: 8 are what a study trains there.
    numbers = replicates or ("1,2,4" if jax.default_backend() == "cpu" else "1,8")
    programs = {number: _program(config, images, number) for number in sorted({1, *map(int, numbers.split(","))})}
    times = take_turns(programs, rounds=rounds, seconds=seconds)
    speeds = {number: [programs[number].images_per_step / time for time in times[number]] for number in programs}
    return {
        str(number): {
            "images_per_second": speeds[number],
            "ratio": ratio(speeds[number], speeds[1])["median"],
            "compile_seconds": program.compile_seconds,
        }
        for number, program in programs.items()
    }


def _program(config, images, number):
    objectives = []
    for seed in range(number):
        config = config.copy_and_resolve_references()
        config.seed = seed
        objectives.append(objective_of(config, images.shape[1:]))
    return Training({"images": images}, *objectives)


def rows(name, figures):
    for number, result in figures.items():
        speed = statistics.median(result["images_per_second"])
        yield name, number, f"{speed:,.0f}", f"{result['ratio']:.2f}", f"{result['compile_seconds']:.1f}"


COLUMNS = ("model", "replicates", "images/s in all", "as many as one alone", "compilation, s")
BENCHMARK = Benchmark(
    "replicates",
    measure,
    (Table("Several trainings as one program", COLUMNS, rows),),
    seconds=2.0,
    options={"replicates": ("", "numbers of them; 1,2,4 on CPUs, 1,8 on GPUs")},
)

if __name__ == "__main__":
    command(__doc__, BENCHMARK, latents="gaussian", seconds=3.0)
