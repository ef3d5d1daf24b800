"""Images of the three sizes to train on: speed does not ask what they show, but they should not be noise."""

import numpy as np

from mtvae_jax.config import check, resolve, thesis_config
from mtvae_jax.data import load_dataset

# Each with the dataset that the thesis has it from, whose settings the models take.
SHAPES = {(28, 28, 1): "mnist", (32, 32, 3): "cifar10", (64, 64, 3): "celeb_a"}


def load(shape, datasets=()):
    """Training images of a shape: those of the first dataset that has it, else digits, enlarged and coloured.

    **Arguments:** `shape`: (H, W, C); `datasets`: names of `load_dataset`.
    **Returns:** uint8 [N, H, W, C], and what they are.
    """
    for name in datasets:
        dataset = load_dataset(name)
        if dataset.image_shape == tuple(shape):
            return dataset.train, dataset.name
    digits = load_dataset("mnist_sample")
    if digits.image_shape == tuple(shape):
        return digits.train, digits.name
    return enlarged(digits.train, shape), "mnist_sample, enlarged and coloured"


def enlarged(images, shape):
    """uint8 [N, h, w, 1] → [N, H, W, C]: the nearest pixel, times a colour for each image."""
    height, width, channels = shape
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    colours = np.random.default_rng(0).integers(96, 256, (len(images), 1, 1, channels))
    return (images[:, rows][:, :, columns] * colours // 255).astype(np.uint8)


def thesis_model(latent, method, shape, **settings):
    """The resolved config of a model of the thesis for images of one of `SHAPES`.

    **Arguments:** `settings`: section__field=value, what differs from the thesis'.
    """
    config = thesis_config(SHAPES[tuple(shape)], latent=latent, method=method)
    for name, value in settings.items():
        section, field = name.split("__")
        config[section][field] = value
    check(config)
    return resolve(config, shape)
