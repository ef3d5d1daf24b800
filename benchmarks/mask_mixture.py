"""The masks by which arbitrary conditioning is compared on MNIST: those of VAEAC, ACFlow and Posterior Matching.

What is hidden is one of seven kinds (Ivanov, Figurnov and Vetrov 2019; Li, Akbar and Oliva 2020; Strauss and Oliva
2022): each pixel with probability ½; the left, upper, right or lower half; a square of half the side; a rectangle with
two random corners that covers 30 to 100 % of the image. Weights 2, 1, 1, 1, 1, 2, 2.
"""

import jax
import numpy as np

WEIGHTS = (2, 1, 1, 1, 1, 2, 2)
LEAST_RECTANGLE = 0.3  # of the image


def mixture_mask(keys, height, width):
    """Draws which pixels are revealed: bool [N, H, W, 1], image n from typed key `keys[n]`."""
    seeds = np.asarray(jax.vmap(jax.random.key_data)(keys)).reshape(len(keys), -1)
    hidden = np.stack([_hidden(np.random.default_rng(seed.tolist()), height, width) for seed in seeds])
    return ~hidden[..., None]


def _hidden(generator, height, width):
    row, column = np.mgrid[:height, :width]
    kinds = (
        lambda: generator.random((height, width)) < 0.5,
        lambda: column < width // 2,
        lambda: row < height // 2,
        lambda: column >= width // 2,
        lambda: row >= height // 2,
        lambda: _within(row, column, *_square(generator, height, width)),
        lambda: _within(row, column, *_rectangle(generator, height, width)),
    )
    return kinds[generator.choice(len(kinds), p=np.array(WEIGHTS) / sum(WEIGHTS))]()


def _square(generator, height, width):
    """The first and the last row and column; the square never touches the last row and column of the image."""
    top, left = generator.integers(0, height // 2), generator.integers(0, width // 2)
    return (top, top + height // 2 - 1), (left, left + width // 2 - 1)


def _rectangle(generator, height, width):
    while True:
        rows, columns = np.sort(generator.integers(0, height, 2)), np.sort(generator.integers(0, width, 2))
        if LEAST_RECTANGLE * height * width <= np.prod([rows[1] - rows[0] + 1, columns[1] - columns[0] + 1]):
            return rows, columns


def _within(row, column, rows, columns):
    return (rows[0] <= row) & (row <= rows[1]) & (columns[0] <= column) & (column <= columns[1])
