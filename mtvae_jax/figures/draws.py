"""Draws of the hidden pixels given the revealed ones, p(x|m), beside what they are drawn for."""

import numpy as np

from mtvae_jax.figures.image_rows import Row, Scale, image_rows
from mtvae_jax.figures.mosaic import hide, to_rgb, with_note

_MOST_DRAWS = 5
_DEVIATION, _LARGEST_DEVIATION = "std. dev.", 0.5


def draws(images, masks, samples, *, title=None):
    """Draws a row an image: its revealed pixels, a few draws, mean and standard deviation over all, the image itself.

    The standard deviation is white at 0.5, the largest that intensities in [0, 1] can have; a scale below says so.

    **Arguments:** `images`: float [n, H, W, C]; `masks`: bool [n, H, W, 1] or [H, W, 1], true where revealed;
    `samples`: float [S, n, H, W, C], S at least 2; `title`: text.
    **Returns:** a matplotlib `Figure`.
    **Raises:** `ValueError` if the arguments differ in number or size of images.
    """
    images, samples = np.asarray(images), np.asarray(samples)
    if samples.ndim != 5 or samples.shape[1:] != images.shape or len(samples) < 2:
        raise ValueError(f"samples are {samples.shape}, must be at least 2 of images {images.shape}")
    revealed = hide(to_rgb(images), masks)
    shown = samples[:_MOST_DRAWS]
    columns = {"revealed": revealed}
    columns |= {f"draw {i}": to_rgb(draw) for i, draw in enumerate(shown, start=1)}
    columns |= {
        "mean": to_rgb(samples.mean(0)),
        _DEVIATION: to_rgb(samples.std(0) / _LARGEST_DEVIATION),
        "truth": to_rgb(images),
    }
    by_row = np.stack(list(columns.values()), axis=1)  # [n, columns, H, W, 3]
    rows = [Row("", row, columns=len(columns)) for row in by_row]
    scale = Scale(list(columns).index(_DEVIATION), "0", f"{_LARGEST_DEVIATION:g}")
    return image_rows(rows, headings=list(columns), title=with_note(title, images), scale=scale)
