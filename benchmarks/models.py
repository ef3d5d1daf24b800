"""The models that are measured, and images of their sizes: these need show nothing, but are not noise."""

from typing import NamedTuple

import jax
import numpy as np

from mtvae_jax.config import check, model_name, resolve, thesis_config
from mtvae_jax.data import load_dataset

# Each with the dataset that the thesis has it from, whose settings the models take.
SHAPES = {(28, 28, 1): "mnist", (32, 32, 3): "cifar10", (64, 64, 3): "celeb_a"}

# A call of the compiled step ends with the epoch, and one of a few milliseconds would be timed for what it costs to
# start it. GPUs would be through with the sample that comes with the package in 30.
_IMAGES_ON_A_GPU = 25_600


class Model(NamedTuple):
    """A model of the thesis for images of one of `SHAPES`; **sampling**: None for its method's own."""

    latent: str
    method: str
    shape: tuple[int, int, int] = (28, 28, 1)
    precision: str = "float32"
    sampling: str | None = None

    @property
    def config(self):
        """Returns the resolved config."""
        settings = {} if self.sampling is None else {"conditioning__sampling": self.sampling}
        return thesis_model(self.latent, self.method, self.shape, train__precision=self.precision, **settings)

    @property
    def full_name(self):
        """Returns a name such as "gauss_multi, 28×28×1" or "vq_plain, 64×64×3, bfloat16"."""
        parts = [model_name(self.config), "×".join(map(str, self.shape)), self.sampling]
        return ", ".join(filter(None, [*parts, self.precision if self.precision != "float32" else None]))


def thesis_model(latent, method, shape, **settings):
    """Returns the resolved config of a model of the thesis for images of a shape.

    **Arguments:** `settings`: section__field=value, what differs from the thesis'.
    """
    config = thesis_config(SHAPES.get(tuple(shape), "mnist"), latent=latent, method=method)
    for name, value in settings.items():
        section, field = name.split("__")
        config[section][field] = value
    check(config)
    return resolve(config, shape)


def load(shape, datasets=()):
    """Loads training images of a shape: those of the first dataset that has it, else digits, enlarged and coloured. For
    GPUs they are repeated to an epoch of some length.

    **Arguments:** `shape`: (H, W, C); `datasets`: names of `load_dataset`.
    **Returns:** uint8 [N, H, W, C], and what they are.
    """
    for dataset in map(load_dataset, [*datasets, "mnist_sample"]):
        if dataset.image_shape == tuple(shape):
            images, what = dataset.train, dataset.name
            break
    else:
        images, what = enlarged(dataset.train, shape), f"{dataset.name}, enlarged and coloured"
    if jax.default_backend() != "cpu":
        images = np.resize(images, (max(len(images), _IMAGES_ON_A_GPU), *shape))
    return images, what


def enlarged(images, shape):
    """Enlarges uint8 [N, h, w, 1] to [N, H, W, C]: the nearest pixel, times a colour for each image."""
    height, width, channels = shape
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    colours = np.random.default_rng(0).integers(96, 256, (len(images), 1, 1, channels))
    return (images[:, rows][:, :, columns] * colours // 255).astype(np.uint8)
