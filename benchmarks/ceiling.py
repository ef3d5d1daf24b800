"""What the device can do at most: products of large matrices, and memory traffic.

    python -m benchmarks.ceiling

The floor under the time of a program is its FLOPs over the one, or its bytes over the other, whichever is longer.
"""

import statistics

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.turns import recurrence, take_turns
from mtvae_jax import environment

# Of float32 operands on a GPU XLA takes 10 bits of mantissa ("tf32") unless it is told not to.
_PRECISIONS = {
    "float32": (jnp.float32, lax.Precision.HIGHEST),
    "tf32": (jnp.float32, lax.DotAlgorithmPreset.TF32_TF32_F32),
    "bfloat16": (jnp.bfloat16, lax.Precision.DEFAULT),
}
_SIDES = {"cpu": (1024, 2048), "gpu": (4096, 8192)}
_TRIAD_BYTES = {"cpu": 64 * 2**20, "gpu": 2**30}  # of one array, beyond all caches


def measure(*, rounds=5, seconds=0.5):
    """**Returns:** {"matmul": precision → FLOP/s, the best of several sizes; "bytes_per_second": of a ← s · a + b}."""
    platform = jax.default_backend()
    sides, triad_bytes = (table.get(platform, table["gpu"]) for table in (_SIDES, _TRIAD_BYTES))
    products = {
        (precision, side): _product(side, *_PRECISIONS[precision])
        for precision in (["float32"] if platform == "cpu" else _PRECISIONS)
        for side in sides
    }
    size = triad_bytes // 4
    triad = recurrence(lambda _, a, b: 0.5 * a + b, jnp.ones(size), jnp.ones(size))
    times = take_turns({**products, "triad": triad}, rounds=rounds, seconds=seconds)
    medians = {name: statistics.median(time) for name, time in times.items()}
    matmul = {}
    for precision, side in products:
        flops = 2 * side**3 / medians[precision, side]
        matmul[precision] = max(matmul.get(precision, 0.0), flops)
    return {"matmul": matmul, "bytes_per_second": 3 * 4 * size / medians["triad"]}


def training_precision(precision):
    """The kind of product that training with `config.train.precision` runs on this device."""
    return "tf32" if precision == "float32" and jax.default_backend() == "gpu" else precision


HEADER = "| ceiling | measured |\n|---|---|"


def rows(ceilings):
    """The lines of a Markdown table for `measure`'s figures."""
    for precision, flops in ceilings["matmul"].items():
        yield f"| products of matrices, {precision} | {flops / 1e9:,.0f} GFLOP/s |"
    yield f"| memory traffic, read and written | {ceilings['bytes_per_second'] / 1e9:,.1f} GB/s |"


def _product(side, dtype, precision):
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    b = jax.random.orthogonal(jax.random.key(1), side).astype(dtype)  # whose powers neither grow nor vanish
    return recurrence(lambda _, a, b: jnp.matmul(a, b, precision=precision), a, b)


if __name__ == "__main__":
    environment.configure()
    print(HEADER, *rows(measure()), sep="\n")
