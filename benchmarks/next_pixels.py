"""Pixels that the model asks for, against random ones: the error of the hidden ones after each, on test images.

    python -m benchmarks.next_pixels runs/pixels_gauss-… --steps=10 --json=next_pixels.json

Each image starts with no pixel. The model is shown one pixel at a time, that which `Model.next_pixels` names, and looks
anew after each; beside it, as many random ones, and twice as many. Intervals of 95 % are over the images, paired. With
--output two figures: the error against the number of pixels, and what is known after all steps either way.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from mtvae_jax.conditioning import uniform_mask
from mtvae_jax.config import data_arguments, from_dict
from mtvae_jax.data import load_dataset
from mtvae_jax.figures import draws as draws_figure
from mtvae_jax.figures.given_pixels import given_pixels
from mtvae_jax.figures.save import save
from mtvae_jax.process import environment
from mtvae_jax.randomness import image_keys
from mtvae_jax.trained.model import load
from mtvae_jax.workdir.directory import read_run

_KEY = 20241129
_SHOWN = 6


def main():
    flags = _flags()
    environment.configure()
    model = load(flags.workdir)
    config = from_dict(read_run(flags.workdir)["config"])
    dataset = load_dataset(config.data.name, **data_arguments(config) | ({"directory": flags.dir} if flags.dir else {}))
    images = dataset.test[: flags.images] / np.float32(255)
    errors, masks, milliseconds = chosen(model, images, flags.steps, flags.draws)
    rows = [row("chosen", count, error) for count, error in errors.items()]
    random, random_masks = {}, None
    for count in sorted({*range(flags.steps + 1), 2 * flags.steps}):
        keys = image_keys(jax.random.fold_in(jax.random.key(_KEY), 1), len(images))
        drawn = np.asarray(uniform_mask(keys, np.full(len(images), count), *images.shape[1:3]))
        random[count] = hidden_error(model, images, drawn, flags.draws)
        rows.append(row("random", count, random[count]))
        random_masks = drawn if count == flags.steps else random_masks
    for count in (flags.steps, 2 * flags.steps):
        mean, half = paired(errors[flags.steps] - random[count])
        print(f"{flags.steps} chosen less {count} random pixels, mean squared error: {mean:+.5f} ± {half:.5f}")
        rows.append({"predictor": f"chosen less {count} random", "count": flags.steps, "mse": mean, "half": half})
    print(f"{milliseconds:.1f} ms an image and step ({flags.draws} draws, on {environment.device()})")
    if flags.json:
        record = {"dataset": dataset.name, "images": len(images), "draws": flags.draws, "device": environment.device(),
                  "milliseconds": milliseconds, "rows": rows}
        flags.json.write_text(json.dumps(record, indent=1) + "\n")
    if flags.output:
        curves = [{"seed": 0, **row} for row in rows if row["count"] <= flags.steps]
        save(given_pixels(curves, title=f"{dataset.name}: which pixel next?"), flags.output / "next_pixels.png")
        for name, shown in (("chosen", masks), ("random", random_masks)):
            some = images[:_SHOWN], shown[:_SHOWN]
            drawn = model.sample(flags.draws, jax.random.key(_KEY), *some)
            save(draws_figure(*some, drawn, title=f"{flags.steps} {name} pixels"), flags.output / f"{name}.png")


def chosen(model, images, steps, num_draws):
    """Reveals pixels that the model asks for.

    **Returns:** {number of pixels: error of the hidden ones, float64 [N]}, the masks after all steps, bool
    [N, H, W, 1], and the milliseconds that a choice took an image, without compiling.
    """
    masks = np.zeros((*images.shape[:3], 1), bool)
    errors, seconds = {0: hidden_error(model, images, masks, num_draws)}, []
    for step in range(1, steps + 1):
        start = time.perf_counter()
        pixels = model.next_pixels(images, masks, 1, jax.random.fold_in(jax.random.key(_KEY), step), draws=num_draws)
        seconds.append(time.perf_counter() - start)
        masks[np.arange(len(images)), pixels[:, 0, 0], pixels[:, 0, 1]] = True
        errors[step] = hidden_error(model, images, masks, num_draws)
    return errors, masks, 1000 * float(np.median(seconds)) / len(images)


def hidden_error(model, images, masks, num_draws):
    """Returns the squared error of the mean of draws, over the hidden pixels of each image: float64 [N]."""
    mean = model.sample(num_draws, jax.random.key(_KEY), images, masks).mean(0)
    hidden = np.broadcast_to(~masks, images.shape)
    return np.sum((mean - images) ** 2, axis=(1, 2, 3), where=hidden, dtype=np.float64) / hidden.sum((1, 2, 3))


def row(name, count, error):
    mean, half = paired(error)
    return {"predictor": name, "count": count, "mse": mean, "half": half}


def paired(differences):
    """Returns the mean, and half the width of its 95 % interval."""
    return float(np.mean(differences)), float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))


def _flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("workdir", type=Path, help="of a run whose model has p(z|m)")
    add("--dir", help="folder of tensorflow-datasets, or with archives downloaded by hand; default: the run's")
    add("--images", type=int, default=500, help="number of test images; default: %(default)s")
    add("--steps", type=int, default=10, help="default: %(default)s")
    add("--draws", type=int, default=64, help="of z given m; default: %(default)s")
    add("--output", type=Path, help="a folder for figures")
    add("--json", type=Path, help="a file for what is printed, and the rows")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
