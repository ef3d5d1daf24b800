"""What the device can do at most: products of large matrices, and memory traffic.

    python -m benchmarks.ceiling

The floor under the time of a program is its FLOPs over the one, or its bytes over the other, whichever is longer.
"""

import functools
import statistics

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.harness import Benchmark, Table, command
from benchmarks.turns import recurrence, take_turns

# Of float32 operands on a GPU XLA takes 10 bits of mantissa ("tf32") unless it is told not to.
_PRECISIONS = {
    "float32": (jnp.float32, lax.Precision.HIGHEST),
    "tf32": (jnp.float32, lax.DotAlgorithmPreset.TF32_TF32_F32),
    "bfloat16": (jnp.bfloat16, lax.Precision.DEFAULT),
}
_SIDES = {"cpu": (1024, 2048), "gpu": (4096, 8192)}
_TRIAD_BYTES = {"cpu": 64 * 2**20, "gpu": 2**30}  # of one array, beyond all caches


def measure(*, rounds, seconds):
    """Measures the ceilings.

    **Returns:** {"matmul": precision → FLOP/s, the best of several sizes; "bytes_per_second": of a ← s · a + b}."""
    precisions = ["float32"] if jax.default_backend() == "cpu" else _PRECISIONS
    products = {(precision, side): product(precision, side) for precision in precisions for side in _here(_SIDES)}
    programs = {key: program for key, (program, _) in products.items()}
    programs["triad"], traffic = triad()
    times = take_turns(programs, rounds=rounds, seconds=seconds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    matmul = dict.fromkeys(precisions, 0.0)
    for key, (_, flops) in products.items():
        matmul[key[0]] = max(matmul[key[0]], flops / medians[key])
    return {"matmul": matmul, "bytes_per_second": traffic / medians["triad"]}


def product(precision, side=None):
    """Makes a product of square matrices of the largest size, or of `side`: its `Program`, and its FLOPs."""
    side, (dtype, how) = side or max(_here(_SIDES)), _PRECISIONS[precision]
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    b = _orthogonal(side).astype(dtype)  # whose powers neither grow nor vanish
    return recurrence(lambda _, a, b: jnp.matmul(a, b, precision=how), a, b), 2 * side**3


def triad():
    """Makes a ← s · a + b, beyond all caches. **Returns:** its `Program`, and the bytes that it reads and writes."""
    size = _here(_TRIAD_BYTES) // 4
    return recurrence(lambda _, a, b: 0.5 * a + b, jnp.ones(size), jnp.ones(size)), 3 * 4 * size


def training_precision(precision):
    """Returns the kind of product that training with `config.train.precision` runs on this device."""
    return "tf32" if precision == "float32" and jax.default_backend() == "gpu" else precision


@functools.cache
def _orthogonal(side):
    return jax.random.orthogonal(jax.random.key(1), side)


def _here(table):
    return table["cpu" if jax.default_backend() == "cpu" else "gpu"]


def rows(name, figures):
    for precision, flops in figures["matmul"].items():
        yield f"products of matrices, {precision}", f"{flops / 1e9:,.0f} GFLOP/s"
    yield "memory traffic, read and written", f"{figures['bytes_per_second'] / 1e9:,.1f} GB/s"


TABLE = Table("The device's ceilings", ("ceiling", "measured"), rows)
BENCHMARK = Benchmark("ceilings", measure, (TABLE,), seconds=0.5, per_model=False)

if __name__ == "__main__":
    command(__doc__, BENCHMARK)
