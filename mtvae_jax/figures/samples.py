"""Images drawn from a model's prior."""

import math

from mtvae_jax.figures.image_rows import Row, image_rows
from mtvae_jax.figures.mosaic import to_rgb, with_note


def samples(images, *, title=None):
    """Draws a grid of generated images, wider than high, with as few empty cells as can be.

    **Arguments:** `images`: float [n, H, W, C]; `title`: text.
    **Returns:** a matplotlib `Figure`.
    """
    images, title = to_rgb(images), with_note(title, images)
    return image_rows([Row("", images, columns=_columns(len(images)))], title=title)


def _columns(n):
    side = math.isqrt(n - 1) + 1  # the square root, rounded up
    return min(range(side, 2 * side + 1), key=lambda columns: (-n % columns, columns))
