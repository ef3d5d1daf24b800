"""Training of the second stage: the Gated PixelCNN over grids of codes, and p(z|m) of a Gaussian latent.

    python -m benchmarks.prior_speed                            # for vq_plain, vq_multi and gauss_multi, 28×28×1
    python -m benchmarks.prior_speed --latents=vq --methods=multi_decoder --shapes=64x64x3

The latents are random: their values do not change what is computed. Sampling is `benchmarks.prior_sampling`'s.
"""

import statistics

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.by_model import print_table
from benchmarks.training import Training
from benchmarks.turns import take_turns
from mtvae_jax.learned_prior import LearnedPrior
from mtvae_jax.models import build_model, count_parameters
from mtvae_jax.prior import has_second_stage


def measure(config, images, *, rounds=5, seconds=1.0):
    """**Arguments:** `config`: resolved, with a second stage; `images`: uint8 [N, H, W, C].

    **Returns:** {"steps_per_second": a list, one a round, "batch_size", "parameters", "compile_seconds",
    "memory_bytes"}.
    """
    prior = LearnedPrior(config, images.shape[1:], num_classes=0)
    objective = prior.objective()
    training = Training(objective, prior.rows(_latents(config, images), images, None))
    times = take_turns({"training": training}, rounds=rounds, seconds=seconds)["training"]
    parameters = count_parameters(jax.eval_shape(objective.init, objective.base_key)["params"])["total"]
    return {
        "steps_per_second": [1 / time for time in times],
        "batch_size": training.batch_size,
        "parameters": parameters,
        "compile_seconds": training.compile_seconds,
        "memory_bytes": training.memory_bytes,
    }


def _latents(config, images):
    """Random ones, of the shape and kind that the model's latent gives: [N, …]."""
    model, image_shape = build_model(config, images.shape[1:], axis_name=None), images.shape[1:]
    height, width, channels = image_shape

    def posterior():
        m = jnp.zeros((1, height, width, channels + 1))
        return model.init_with_output(jax.random.key(0), jnp.zeros((1, *image_shape)), m)[0].latent.posterior

    one, random = jax.eval_shape(posterior), np.random.default_rng(0)
    shape = (len(images), *one.shape[1:])
    if jnp.issubdtype(one.dtype, jnp.integer):
        return random.integers(0, config.model.codebook_size, shape, dtype=one.dtype)
    return random.normal(size=shape).astype(one.dtype)


HEADER = "| second stage of | images | parameters | steps/s | images/s | compilation, s |\n|---|---|---|---|---|---|"


def rows(model, shape, result):
    """The line of a Markdown table for `measure`'s figures."""
    size, steps = "×".join(map(str, shape)), statistics.median(result["steps_per_second"])
    yield (
        f"| {model} | {size} | {result['parameters']:,} | {steps:,.1f} | {steps * result['batch_size']:,.0f} | "
        f"{result['compile_seconds']:.1f} |"
    )


if __name__ == "__main__":
    print_table(__doc__, measure, HEADER, rows, methods="plain,multi_decoder", seconds=1.0, wanted=has_second_stage)
