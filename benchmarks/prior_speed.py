"""Training of the second stage: the Gated PixelCNN over grids of codes, and p(z|m) of a Gaussian latent.

    python -m benchmarks.prior_speed                            # for vq_plain, vq_multi and gauss_multi, 28×28×1
    python -m benchmarks.prior_speed --latents=vq --methods=multi_decoder --shapes=64x64x3

The latents are random: their values do not change what is computed. Sampling is `benchmarks.prior_sampling`'s.
"""

import argparse
import itertools
import statistics

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.images import SHAPES, load, thesis_model
from benchmarks.training import Training
from benchmarks.turns import take_turns
from mtvae_jax import environment
from mtvae_jax.config import model_name
from mtvae_jax.learned_prior import LearnedPrior
from mtvae_jax.methods import METHODS
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", default="gaussian,vq")
    parser.add_argument("--methods", default="plain,multi_decoder", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--shapes", default="28x28x1", help=f"of {', '.join('x'.join(map(str, s)) for s in SHAPES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    flags = parser.parse_args()
    environment.configure()
    print(HEADER)
    shapes = [tuple(map(int, shape.split("x"))) for shape in flags.shapes.split(",")]
    for shape, latent, method in itertools.product(shapes, flags.latents.split(","), flags.methods.split(",")):
        config = thesis_model(latent, method, shape)
        if has_second_stage(config):
            images, _ = load(shape)
            result = measure(config, images, rounds=flags.rounds, seconds=flags.seconds)
            print(*rows(model_name(config), shape, result), sep="\n", flush=True)


if __name__ == "__main__":
    main()
