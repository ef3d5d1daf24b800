"""Sampling codes from the Gated PixelCNN: the incremental sampler against one evaluation of the network a position.

    python -m benchmarks.prior_sampling                              # 16 grids of 16 × 16 codes
    python -m benchmarks.prior_sampling --grid=8 --batch=64 --layers=10 --rounds=9

Both draw the same codes from the same keys, taking turns. One evaluation of the network, a bound for any such sampler,
is timed as well.
"""

import statistics
import time

import jax
import jax.numpy as jnp

from benchmarks.harness import Benchmark, Table, command, spread
from benchmarks.turns import Program, ratio, take_turns
from mtvae_jax.models.pixelcnn import GatedPixelCNN

INCREMENTAL, PLAIN, EVALUATION = "incremental", "plain", "one evaluation"


def measure(*, rounds, seconds, grid, batch, codes, hidden, layers):
    """Measures both samplers.

    **Arguments:** `grid`: h = w; `batch`: grids a call; `codes`, `hidden`, `layers`: of a network without condition.

    **Returns:** {"settings": these; "same_codes": the fraction of codes that the samplers agree on, 1 where rounding
    does not decide between two; "results": name → {"compile_seconds", "seconds": of a call, a list, one a round}}.
    """
    model = GatedPixelCNN(num_codes=codes, hidden_dim=hidden, num_layers=layers)
    keys, nothing = jax.random.split(jax.random.key(0), batch), jnp.zeros((batch, grid, grid), jnp.int32)
    arguments = jax.jit(model.init)(jax.random.key(1), nothing), nothing, keys

    def sampler(method):
        return lambda variables, codes, keys: model.apply(variables, keys, (grid, grid), method=method)

    functions = {
        INCREMENTAL: sampler("sample"),
        PLAIN: sampler("sample_plain"),
        EVALUATION: lambda variables, codes, keys: model.apply(variables, codes),
    }
    outputs, programs = {}, {}
    for name, function in functions.items():
        start = time.perf_counter()
        compiled = jax.jit(function).lower(*arguments).compile()

        def run(num, name=name, compiled=compiled):
            for _ in range(num):
                outputs[name] = jax.block_until_ready(compiled(*arguments))

        programs[name] = Program(run, time.perf_counter() - start)
    times = take_turns(programs, rounds=rounds, seconds=seconds)
    return {
        "settings": {"grid": grid, "batch": batch, "codes": codes, "hidden": hidden, "layers": layers},
        "same_codes": float(jnp.mean(outputs[INCREMENTAL] == outputs[PLAIN])),
        "results": {
            name: {"compile_seconds": programs[name].compile_seconds, "seconds": times[name]} for name in programs
        },
    }


def rows(name, figures):
    results, batch = figures["results"], figures["settings"]["batch"]
    for what, result in results.items():
        seconds = statistics.median(result["seconds"])
        yield (
            what,
            f"{result['compile_seconds']:.1f}",
            f"{seconds:.3g}",
            "" if what == EVALUATION else f"{batch / seconds:,.1f}",
            "" if what == INCREMENTAL else spread(ratio(result["seconds"], results[INCREMENTAL]["seconds"]), ".3g"),
            f"{figures['same_codes']:.2%}" if what == PLAIN else "",
        )


COLUMNS = ("what", "compilation, s", "median, s", "grids/s", "incremental is … times as fast", "the same codes")
BENCHMARK = Benchmark(
    "prior_sampling",
    measure,
    (Table("Sampling codes", COLUMNS, rows),),
    seconds=0.1,
    options={
        "grid": (16, "codes a side"),
        "batch": (16, "grids a call"),
        "codes": (128, "to choose from"),
        "hidden": (64, "channels"),
        "layers": (12, "of the network"),
    },
    per_model=False,
)

if __name__ == "__main__":
    command(__doc__, BENCHMARK, rounds=3)
