"""What the decoders make of test images, with and without revealed pixels (thesis figures 4.1 and 4.3)."""

import numpy as np

from mtvae_jax.figures.image_rows import Row, image_rows
from mtvae_jax.figures.mosaic import hide, to_rgb, with_note


def reconstructions(images, masks=None, unconditioned=None, conditioned=None, *, title=None):
    """Draws a column an image: the input, its revealed pixels, its reconstructions without and with those pixels.

    A row whose argument is None is left out. Hidden pixels are violet.

    **Arguments:** `images`: float [n, H, W, C]; `masks`: bool [n, H, W, 1] or [H, W, 1], true where revealed;
    `unconditioned`: float [n, H, W, C], decoded from z alone; `conditioned`: the same, decoded from z and m;
    `title`: text.
    **Returns:** a matplotlib `Figure`.
    **Raises:** `ValueError` if the arguments differ in number or size of images.
    """
    inputs = to_rgb(images)
    rows = {"Input": inputs}
    if masks is not None:
        if np.shape(masks)[-3:] != (*inputs.shape[1:3], 1) or np.shape(masks)[:-3] not in ((), inputs.shape[:1]):
            raise ValueError(f"masks are {np.shape(masks)}, images {np.shape(images)}")
        rows["Revealed pixels"] = hide(inputs, masks)
    if unconditioned is not None:
        rows["Reconstruction\nfrom z"] = to_rgb(unconditioned)
    if conditioned is not None:
        rows["Reconstruction\nfrom z and m"] = to_rgb(conditioned)
    for label, row in rows.items():
        if row.shape != inputs.shape:
            raise ValueError(f"{' '.join(label.split())}: {len(row)} images of {row.shape[1:3]}, "
                             f"but {len(inputs)} of {inputs.shape[1:3]} are reconstructed")
    rows = [Row(label, row, columns=len(inputs)) for label, row in rows.items()]
    return image_rows(rows, title=with_note(title, images))
