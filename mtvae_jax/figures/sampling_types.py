"""Which pixels each sampling type reveals (thesis figure 3.6)."""

import numpy as np

from mtvae_jax.errors import number_of
from mtvae_jax.figures.image_rows import Row, image_rows
from mtvae_jax.figures.mosaic import hide, to_rgb, with_note


def sampling_types(image, masks, *, title=None):
    """Draws a row a sampling type: the image, the mask, and what the mask reveals of the image.

    Violet pixels are hidden, in the mask and in the result; a revealed pixel is white in the mask.

    **Arguments:** `image`: float [H, W, C]; `masks`: sampling type to bool [H, W, 1], true where revealed, drawn in
    the order of the dictionary; `title`: text.
    **Returns:** a matplotlib `Figure`.
    **Raises:** `ValueError` without any mask or if a mask and the image differ in size.
    """
    if not masks:
        raise ValueError("sampling_types needs at least one mask")
    original = to_rgb(np.asarray(image)[None])
    rows = []
    for name, mask in masks.items():
        mask = np.asarray(mask, bool)
        if mask.shape != (*original.shape[1:3], 1):
            raise ValueError(f"the mask {name!r} is {mask.shape}, the image {original.shape[1:]}")
        cells = [original, hide(np.ones_like(original), mask), hide(original, mask)]
        rows.append(Row(f"{name}\n{number_of(int(mask.sum()), 'pixel')}", np.concatenate(cells), columns=3))
    return image_rows(rows, headings=("Original", "Mask", "Result"), title=with_note(title, image))
