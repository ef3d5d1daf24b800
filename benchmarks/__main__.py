"""All speed benchmarks in one run, the most important first, until its time is over.

    python -m benchmarks                                        # of everything what fits into nine minutes
    python -m benchmarks --only=parts,start --rounds=1 --seconds=0.1       # a look
    python -m benchmarks --minutes=60 --images=npz:a.npz,npz:b.npz

After every measurement DEVICE-DATE.json and the tables of DEVICE-DATE.md are written anew. What this machine lacks,
what fails and what there is no time for is said there, and ends nothing.
"""

import jax

from benchmarks import ceiling, evaluation_speed, parts, prior_speed, replicates, scaling, start_up, training_speed
from benchmarks.harness import command
from benchmarks.models import SHAPES
from mtvae_jax.methods import METHODS

MODULES = ceiling, training_speed, parts, start_up, replicates, prior_speed, evaluation_speed, scaling
BENCHMARKS = [module.BENCHMARK for module in MODULES]
DEFAULTS = {
    "methods": ",".join(METHODS),
    "shapes": ",".join("x".join(map(str, shape)) for shape in SHAPES),
    "precisions": "float32,bfloat16",
    "rounds": 3,
    "minutes": 9.0,
}


def rank(benchmark, model):
    """Returns the order of importance; None for what this run leaves out.

    The device's ceilings, then the multi-decoder models on the smallest images, on the largest, in bfloat16, and then
    the others. XLA computes in bfloat16 on GPUs; on CPUs it only rounds to it.
    """
    if model is None:
        return -1
    on_cpu, narrow = jax.default_backend() == "cpu", model.precision == "bfloat16"
    multi = model.method == "multi_decoder"
    if narrow and (on_cpu or not multi or benchmark.name == "prior"):
        return None
    several = model.latent == "gaussian" and (on_cpu or jax.device_count() > 1)
    once = {
        "start": 1,
        "replicates": 2 if on_cpu else 8,  # where every convolution is tried in several ways, this compiles the longest
        "scaling": 2 if several else None,
    }
    if benchmark.name in once:
        return once[benchmark.name] if model.shape == (28, 28, 1) and multi and not narrow else None
    by_size = {(28, 28, 1): 0, (64, 64, 3): 1}.get(model.shape, 3)
    return by_size + 2 * narrow + 10 * (not multi)


if __name__ == "__main__":
    command(__doc__, *BENCHMARKS, rank=rank, **DEFAULTS)
