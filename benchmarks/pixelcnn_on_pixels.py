"""The Gated PixelCNN on pixels themselves, to be held against published likelihoods.

    python -m benchmarks.pixelcnn_on_pixels --dataset=mnist --levels=2       # published: 81.50 nats
    python -m benchmarks.pixelcnn_on_pixels --dataset=cifar10 --levels=256   # published: 3.03 bits/dim
    python -m benchmarks.pixelcnn_on_pixels --dataset=mnist_sample --levels=2 --epochs=5 --hidden-dim=32 --num-layers=8

With two levels every look at an image draws its pixels anew from Bernoulli(intensity), in training and in evaluation.
Channels lie side by side as columns: red, green and blue of a pixel follow each other in raster order. The figures are
EugenHotaj/pytorch-generative's for binarised MNIST, and van den Oord et al. (2016) for CIFAR-10. Stopped, the same
command goes on.
"""

import argparse
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from benchmarks.harness import RESULTS, Record, Table, Unit, run
from mtvae_jax.config import thesis_config
from mtvae_jax.data import load_dataset
from mtvae_jax.models.pixelcnn import GatedPixelCNN
from mtvae_jax.process import environment
from mtvae_jax.process.devices import replicate
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.loop import fit


class PixelObjective:
    """−log p(pixels) of images at a number of levels; of the same make as `objective.Objective`."""

    def __init__(self, network, config, image_shape):
        self.network = network
        self.config = config
        self.settings = config.train
        self.image_shape = tuple(image_shape)
        self.base_key = jax.random.key(0)
        self.term_shapes = {"loss": (), "nats": ()}
        self.knobs = ()
        self.balancing = None
        self.varying = ()

    def init(self, key):
        height, width, channels = self.image_shape
        init = jax.jit(lambda key: self.network.init(key, jnp.zeros((1, height, width * channels), jnp.int32)))
        return {"batch_stats": {}} | init(key)

    def training_knobs(self, knobs, epoch, balance=None):
        return knobs

    def training_loss(self, params, batch_stats, batch, dropout_keys, pixel_keys, knobs=None):
        nats = self._nats({"params": params}, batch, pixel_keys, dropout_keys)
        loss = jnp.mean(nats) / math.prod(self.image_shape)
        return loss, ({}, {"loss": loss, "nats": jnp.mean(nats)})

    def evaluation_terms(self, variables, batch, _, pixel_keys, knobs=None):
        return {"nats": self._nats({"params": variables["params"]}, batch, pixel_keys, None)}

    def after_update(self, before, params, batch_stats):
        return params, batch_stats

    def metrics(self, means):
        nats = float(means["nats"])
        per_value = nats / math.prod(self.image_shape)
        return {"loss": per_value, "nats": nats, "bits_per_dim": per_value / math.log(2)}

    def findings(self, metrics):
        return []

    def _nats(self, variables, batch, pixel_keys, dropout_keys):
        pixels = self._levels(batch["images"], pixel_keys)
        logits = self.network.apply(variables, pixels, keys=dropout_keys)
        return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, pixels), axis=(1, 2))

    def _levels(self, images, keys):
        """uint8 [B, H, W, C] → int32 [B, H, W·C] below the number of levels."""
        if self.network.num_codes == 2:
            probability = images.astype(jnp.float32) / 255.0
            levels = jax.vmap(jax.random.bernoulli)(keys, probability)
        else:
            levels = images.astype(jnp.int32) * self.network.num_codes // 256
        return levels.astype(jnp.int32).reshape(*images.shape[:2], -1)


def measure(flags, dataset, workdir):
    """Trains, or goes on. **Returns:** {"images", "best_epoch", "test": metrics, and what the run's clock says}."""
    network = GatedPixelCNN(
        num_codes=flags.levels, hidden_dim=flags.hidden_dim, num_layers=flags.num_layers, dropout=flags.dropout
    )
    config = thesis_config(latent="vq", method="plain")  # of which the training counts
    config.train.update(epochs=flags.epochs, batch_size=flags.batch_size, learning_rate=flags.learning_rate)
    config.train.update(schedule="cosine", warmup_epochs=0.0, weight_decay=0.0, clip_norm=1.0, ema_decay=0.999)
    objective, clock = PixelObjective(network, config, dataset.image_shape), Clock()
    train, validation, test = ({"images": split} for split in (dataset.train, dataset.validation, dataset.test))
    fitted = fit(objective, train, validation, workdir, section="train", clock=clock)
    metrics = fitted.evaluate(replicate(fitted.variables), fitted.evaluate.place(test))
    best = {"images": len(dataset.train), "best_epoch": fitted.record["epoch"]}
    return best | {"test": metrics} | clock.record()


def rows(name, figures):
    yield name, f"{figures['test']['nats']:.2f}", f"{figures['test']['bits_per_dim']:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist_sample")
    parser.add_argument("--data-dir")
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--hidden-dim", type=int, default=64)
    parser.add_argument("--num-layers", type=int, default=15)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/pixelcnn_on_pixels"))
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder; default: benchmarks/results")
    flags = parser.parse_args()
    environment.configure()
    dataset = load_dataset(flags.dataset, directory=flags.data_dir)
    settings = {key: value for key, value in vars(flags).items() if key not in ("workdir", "data_dir", "output")}
    name = "-".join(f"{key}={value}" for key, value in sorted(settings.items()))
    workdir = flags.workdir / re.sub(r"[^\w=.-]+", "-", name)
    table = Table("The PixelCNN on pixels", ("pixels", "nats", "bits/dim"), rows)
    what = f"{dataset.name}, {flags.levels} levels"
    unit = Unit("pixelcnn", what, lambda: measure(flags, dataset, workdir), (table,))
    record = Record(flags.output, f"pixelcnn-{dataset.name}-{flags.levels}", [unit], flags=settings)
    raise SystemExit(run([unit], record))


if __name__ == "__main__":
    main()
