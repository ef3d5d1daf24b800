"""Many images in one array: what is drawn is one picture a row, not one set of axes an image."""

import numpy as np

from mtvae_jax.figures.style import HIDDEN


def to_rgb(images):
    """Returns images of any channel count as they are drawn: of other numbers than 1 and 3 the first channel, in grey.

    **Arguments:** `images`: float [n, H, W, C] in [0, 1], values outside are clipped and NaN is black; or uint8.
    **Returns:** float32 [n, H, W, 3].
    **Raises:** `ValueError` for another rank or without any image.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"images must be [n, H, W, C] with at least one image, not {images.shape}")
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    return np.clip(np.nan_to_num(images.astype(np.float32), nan=0.0), 0, 1)


def channel_note(images):
    """Returns what `to_rgb` leaves out of images [n, H, W, C], as text for a title: "" for grey and RGB ones."""
    channels = np.shape(images)[-1]
    return "" if channels in (1, 3) else f"channel 1 of {channels}, in grey"


def with_note(title, images):
    """Returns `title`, or None for no title, with the `channel_note` of what is drawn below it."""
    return ": ".join(filter(None, (title, channel_note(images)))) or None


def hide(rgb, masks):
    """Paints the pixels that `masks` does not reveal in a colour that is not mistaken for a black pixel.

    **Arguments:** `rgb`: float [n, H, W, 3]; `masks`: bool [n, H, W, 1] or [H, W, 1], true where revealed.
    **Returns:** float32 [n, H, W, 3].
    """
    return np.where(np.asarray(masks, bool), rgb, np.float32(HIDDEN))


def tile(rgb, columns, gap):
    """Lays images out in rows of `columns`, `gap` white pixels apart; the last row is filled up with white.

    **Arguments:** `rgb`: float [n, H, W, 3].
    **Returns:** float32 [rows · (H + gap) − gap, columns · (W + gap) − gap, 3].
    """
    n, height, width, _ = rgb.shape
    rows = -(-n // columns)
    cells = np.ones((rows * columns, height + gap, width + gap, 3), np.float32)
    cells[:n, :height, :width] = rgb
    picture = cells.reshape(rows, columns, height + gap, width + gap, 3).swapaxes(1, 2)
    picture = picture.reshape(rows * (height + gap), columns * (width + gap), 3)
    return picture[: picture.shape[0] - gap, : picture.shape[1] - gap]
