"""Hidden pixels against the number of revealed ones: a model, and rivals that know no z, on all test images.

    python -m benchmarks.given_pixels --data=fashion_mnist --epochs=40 --seeds=5 --json=given_pixels.json

For each seed it trains the model of a config and a direct regression of the same width, on the same images and masks;
then every predictor predicts the same test images from the same pixels. What is finished is kept under --output: the
same command goes on where it stopped. The table has means over the seeds and, of the difference to the model, the
interval of 95 % over them; the figure has the error of the mean against the number of pixels, a line a predictor.

The protocol of arbitrary conditioning, as VAEAC, ACFlow and Posterior Matching have it on MNIST:

    python -m benchmarks.given_pixels --data=mnist --sampling=mixture --masks=mixture --draws=10 --trials=5 --seeds=1

Its PSNR is of the mean of the draws with the revealed pixels pasted in, of the whole image, averaged over the images.
Published for MNIST: VAEAC 19.61, ACFlow 17.35 and with its best guess 20.83 dB.

The protocol of the Neural Process Family is --masks=context: random pixels, up to 30 % of them; log likelihood of all
pixels in nats, a Gaussian each with a deviation of at least 0.01. Published for MNIST of 32 × 32: ConvLNP 2919, ConvCNP
2628 nats.
"""

import argparse
import functools
import importlib
import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from mtvae_jax.conditioning import SAMPLINGS, box_mask, exact_grid_mask, mixture_mask, uniform_mask
from mtvae_jax.config import check, has_second_stage, resolve
from mtvae_jax.data import load_dataset
from mtvae_jax.figures.given_pixels import given_pixels
from mtvae_jax.figures.save import save
from mtvae_jax.judging.hidden_pixels import LEVELS, fit_noise, score
from mtvae_jax.judging.pixel_noise import PixelNoise
from mtvae_jax.judging.regression import train_regression
from mtvae_jax.judging.rivals import RIVALS
from mtvae_jax.process import environment
from mtvae_jax.randomness import image_keys
from mtvae_jax.trained.model import load
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.second_stage import train_prior

COUNTS = (0, 5, 10, 20, 49, 100, 200, 400)
_STRIDE = 4  # of the grid
_NOISE_IMAGES = 1000
_CONTEXT = 0.3  # of the pixels, the most that the Neural Process Family reveals of an image
_KEY = 20241128
_FORMATS = {"crps": ".4f", "log_likelihood": ".0f"}  # of the table's columns, where not three digits


def _halves(keys, count, height, width):
    """The left, right, upper or lower half of each image, all alike."""
    del count
    row, column = np.mgrid[:height, :width]
    halves = np.stack([column < width // 2, column >= width // 2, row < height // 2, row >= height // 2])[..., None]
    return halves[np.asarray(jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys))]


def _grid(keys, count, height, width):
    del count
    grid = np.asarray(exact_grid_mask(height, width, _STRIDE))
    return np.broadcast_to(grid, (len(keys), *grid.shape))


def _counted(draw):
    return lambda keys, count, height, width: np.asarray(draw(keys, np.full(len(keys), count), height, width))


def _context(keys, count, height, width):
    """Any number of random pixels up to `_CONTEXT` of them, all numbers alike."""
    del count
    most = int(_CONTEXT * height * width)
    count_keys, pixel_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    counts = jax.vmap(lambda key: jax.random.randint(key, (), 0, most + 1))(count_keys)
    return np.asarray(uniform_mask(pixel_keys, counts, height, width))


# Names of --masks → (draw(keys [N], count, height, width) → bool [N, H, W, 1], whether it has a count of its own).
MASKS = {
    "uniform": (_counted(uniform_mask), False),
    "grid": (_grid, True),
    "box": (_counted(box_mask), False),
    "half": (_halves, True),
    "context": (_context, True),
    "mixture": (lambda keys, count, height, width: np.asarray(mixture_mask(keys, height, width)), True),
}
_DEFAULT_MASKS = ("uniform", "grid", "box", "half")


def main():
    flags = _flags()
    environment.configure()
    dataset = load_dataset(flags.data, directory=flags.dir, max_train=flags.max_train)
    rows = []
    for seed in range(flags.seeds):
        rows += _seed(flags, dataset, seed)
        if flags.json:
            flags.json.write_text(json.dumps(rows, indent=0) + "\n")
        print(table(rows), flush=True)
    for masks in dict.fromkeys(row["masks"] for row in rows if row["count"] is not None):
        some = [row for row in rows if row["masks"] == masks]
        if len({row["count"] for row in some}) > 1:
            save(given_pixels(some, title=f"{flags.data}, {masks} masks"), flags.output / f"{masks}.png")


def _flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", default="mnist_sample", help="a dataset, or npz:PATH; default: %(default)s")
    add("--dir", help="folder of tensorflow-datasets, or with archives downloaded by hand")
    add("--config", default="pixels_gauss", help="of configs/; default: %(default)s")
    add("--sampling", choices=SAMPLINGS, help="of the masks of training; default: the config's")
    add("--trials", type=int, default=1, help="of masks and draws for each seed; default: %(default)s")
    add("--epochs", type=int, help="of the model and of the regression; default: the config's")
    add("--seeds", type=int, default=5, help="default: %(default)s")
    add("--masks", default=",".join(_DEFAULT_MASKS), help=f"of {', '.join(MASKS)}; default: %(default)s")
    add("--counts", default=",".join(map(str, COUNTS)), help="of revealed pixels; default: %(default)s")
    add("--images", type=int, help="number of test images; default: all")
    add("--max-train", type=int, help="number of training images; default: all")
    add("--draws", type=int, default=64, help="of z given m; default: %(default)s")
    add("--predictors", default=f"mtvae,regression,{','.join(RIVALS)}", help="default: %(default)s")
    add("--output", type=Path, default=Path("runs/given_pixels"), help="a folder; default: %(default)s")
    add("--json", type=Path, help="a file for the rows")
    return parser.parse_args()


def _config(flags, dataset, seed):
    config = importlib.import_module(f"configs.{flags.config}").get_config(flags.data)
    config.seed = seed
    config.train.epochs = flags.epochs or config.train.epochs
    config.conditioning.sampling = flags.sampling or config.conditioning.sampling
    check(config)
    return resolve(config, dataset.image_shape)


def _seed(flags, dataset, seed):
    """The rows of a seed, those that are finished from the folder."""
    config, directory = _config(flags, dataset, seed), flags.output / f"seed-{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["predictor"], row["masks"], row["count"], row["trial"]) for row in rows}
    for name in flags.predictors.split(","):
        wanted = [cell for cell in _cells(flags, dataset) if (name, *cell) not in done]
        predict, fit = _predictor(name, config, dataset, directory, flags.draws) if wanted else (None, None)
        for masks, count, trial in wanted:
            row = {"predictor": name, "masks": masks, "count": count, "seed": seed, "trial": trial}
            row |= _scores(predict, fit, dataset, masks, count, (seed, trial), flags.images)
            with open(path, "a") as file:
                file.write(json.dumps(row) + "\n")
            rows.append(row)
            print(f"seed {seed}, {name}, {masks}, {count}: mse {row['mse']:.5f}, crps {row['crps']:.5f}", flush=True)
    return rows


def _cells(flags, dataset):
    """(name of the masks, number of pixels, trial) of every cell; None pixels where each mask has its own number."""
    height, width, _ = dataset.image_shape
    for masks in flags.masks.split(","):
        draw, own_count = MASKS[masks]
        counts = [count for count in map(int, flags.counts.split(",")) if count < height * width]
        if own_count:
            some = draw(image_keys(jax.random.key(0), 100), None, height, width).sum((1, 2, 3))
            counts = [int(some[0]) if (some == some[0]).all() else None]
        yield from itertools.product([masks], counts, range(flags.trials))


def _predictor(name, config, dataset, directory, num_draws):
    """Returns a predictor, see `judging.hidden_pixels`, and what makes its noise from held-out images."""
    if name == "mtvae":
        train(config, dataset, directory / "model")
        if has_second_stage(config):
            train_prior(config, dataset, directory / "model")
        model = load(directory / "model")

        def fit(images, masks, key):
            """Returns the noise of p(x|z, m): residuals with z from q(z|x), as `judging.judge` has it."""
            hidden = np.broadcast_to(~masks, images.shape)
            return PixelNoise(model.reconstruct(images, masks, key=key)[hidden], images[hidden])

        return lambda images, masks, key: model.sample(num_draws, key, images, masks), fit
    if name == "regression":
        rival = train_regression(config, dataset, directory / "regression")
    else:
        rival = RIVALS[name](dataset.train)

    def predict(images, masks, key):
        return rival(images, masks)[None]

    return predict, functools.partial(fit_noise, predict)


def _scores(predict, fit, dataset, masks, count, seed_and_trial, num_images):
    height, width, _ = dataset.image_shape
    seed, trial = seed_and_trial
    key = jax.random.fold_in(jax.random.key(_KEY), seed)
    key = jax.random.fold_in(key, trial) if trial else key

    def drawn(purpose, images):
        keys = image_keys(jax.random.fold_in(key, purpose), len(images))
        return np.asarray(MASKS[masks][0](keys, count, height, width))

    held_out = dataset.validation[:_NOISE_IMAGES] / np.float32(255)
    noise = fit(held_out, drawn(0, held_out), jax.random.fold_in(key, 1))
    images = dataset.test[:num_images] / np.float32(255)
    scores = score(predict, noise, images, drawn(2, images), jax.random.fold_in(key, 3))
    means = {name: float(np.mean(np.ma.masked_invalid(values))) for name, values in scores.items()}
    return means | {"images": len(images)}


def table(rows):
    """Of rows of one or several seeds a Markdown table: a line a cell and predictor."""
    shown = ["mse", "psnr", "crps", "energy", "variogram", *(f"coverage_{level}" for level in LEVELS), "log_likelihood"]
    lines = ["| masks | pixels | predictor | seeds | MSE | MSE less the model's (95 %) | "
             + " | ".join(shown[1:]) + " |", "|" + "---|" * (6 + len(shown) - 1)]
    cells = dict.fromkeys((row["masks"], row["count"]) for row in rows)
    for cell in cells:
        here = [row for row in rows if (row["masks"], row["count"]) == cell]
        ours = {(row["seed"], row["trial"]): row["mse"] for row in here if row["predictor"] == "mtvae"}
        for name in dict.fromkeys(row["predictor"] for row in here):
            some = [row for row in here if row["predictor"] == name]
            # Rows of earlier versions lack some
            mean = {key: np.mean([row.get(key, np.nan) for row in some]) for key in shown}
            figures = [f"{mean[key]:{_FORMATS.get(key, '.3f')}}" for key in shown[1:]]
            pairs = [(row["mse"], ours.get((row["seed"], row["trial"]))) for row in some]
            apart = _interval([theirs - own for theirs, own in pairs if own is not None])
            apart = "" if name == "mtvae" else apart
            lines.append(f"| {cell[0]} | {cell[1]} | {name} | {len(some)} | {mean['mse']:.5f} | {apart} | "
                         f"{' | '.join(figures)} |")
    return "\n".join(lines)


def _interval(differences):
    """The mean, and the 95 % interval of Student's t where there are several."""
    mean = np.mean(differences) if differences else np.nan
    if len(differences) < 2:
        return f"{mean:+.5f}"
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{mean:+.5f} ± {half:.5f}"


if __name__ == "__main__":
    sys.exit(main())
