"""Training of the second stage: the Gated PixelCNN over grids of codes, and p(z|m) of a Gaussian latent.

    python -m benchmarks.prior_speed                            # for vq_plain, vq_multi and gauss_multi, 28×28×1
    python -m benchmarks.prior_speed --latents=vq --methods=multi_decoder --shapes=64x64x3

The latents are random: their values do not change what is computed. Sampling is `benchmarks.prior_sampling`'s.
"""

import statistics

import numpy as np

from benchmarks.harness import Benchmark, Table, command
from benchmarks.training import Training
from benchmarks.turns import take_turns
from mtvae_jax.config import has_second_stage
from mtvae_jax.models import build_latent
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.prior_objective import PriorObjective


def measure(config, images, *, rounds, seconds):
    """Measures training.

    **Returns:** {"steps_per_second": a list, one a round, "batch_size", "parameters", "compile_seconds",
    "memory_bytes"}.
    """
    prior = LearnedPrior(config, images.shape[1:], num_classes=0)
    training = Training(prior.rows(_latents(config, images), images, None), PriorObjective.of(prior))
    times = take_turns({"training": training}, rounds=rounds, seconds=seconds)["training"]
    return {
        "steps_per_second": [1 / time for time in times],
        "batch_size": training.images_per_step,
        "parameters": training.parameters,
        "compile_seconds": training.compile_seconds,
        "memory_bytes": training.memory_bytes,
    }


def _latents(config, images):
    """Random ones, of the shape and kind that the model's latent gives: [N, …]."""
    latent, random = build_latent(config, images.shape[1:], axis_name=None), np.random.default_rng(0)
    row = latent.posterior_row
    shape = (len(images), *row.shape)
    if latent.num_codes is None:
        return random.normal(size=shape).astype(row.dtype)
    return random.integers(0, latent.num_codes, shape, dtype=row.dtype)


def rows(name, figures):
    steps = statistics.median(figures["steps_per_second"])
    speed, compilation = steps * figures["batch_size"], figures["compile_seconds"]
    yield name, f"{figures['parameters']:,}", f"{steps:,.1f}", f"{speed:,.0f}", f"{compilation:.1f}"


COLUMNS = ("second stage of", "parameters", "steps/s", "images/s", "compilation, s")
TABLE = Table("Training of the second stage", COLUMNS, rows)
BENCHMARK = Benchmark("prior", measure, (TABLE,), seconds=1.0, wanted=has_second_stage)

if __name__ == "__main__":
    command(__doc__, BENCHMARK, methods="plain,multi_decoder")
