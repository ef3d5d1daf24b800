"""The command line of benchmarks that measure a model at a time: a table over latents, methods and sizes of images."""

import argparse
import itertools

from benchmarks.images import SHAPES, load, thesis_model
from mtvae_jax import environment
from mtvae_jax.config import model_name
from mtvae_jax.methods import METHODS


def print_table(description, measure, header, rows, *, methods, seconds, wanted=lambda config: True):
    """**Arguments:** `description`: for --help; `measure(config, images, rounds, seconds)` → a result, whose lines
    `rows(model, shape, result)` gives; `header`: the lines above them; `methods`, `seconds`: defaults;
    `wanted(config)`: whether there is something to measure.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", default="gaussian,vq")
    parser.add_argument("--methods", default=methods, help=f"of {', '.join(METHODS)}")
    parser.add_argument("--shapes", default="28x28x1", help=f"of {', '.join('x'.join(map(str, s)) for s in SHAPES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=seconds, help="of one turn")
    flags = parser.parse_args()
    environment.configure()
    print(header)
    shapes = [tuple(map(int, shape.split("x"))) for shape in flags.shapes.split(",")]
    for shape, latent, method in itertools.product(shapes, flags.latents.split(","), flags.methods.split(",")):
        config = thesis_model(latent, method, shape)
        if wanted(config):
            images, _ = load(shape)
            result = measure(config, images, rounds=flags.rounds, seconds=flags.seconds)
            print(*rows(model_name(config), shape, result), sep="\n", flush=True)
