"""The layout of every figure made of images: labelled rows of mosaics, laid out to the pixel."""

import math
from dataclasses import dataclass

import numpy as np

from mtvae_jax.figures.mosaic import tile
from mtvae_jax.figures.style import (
    COLUMN_WIDTH,
    DPI,
    INK,
    LABEL_SIZE,
    MARGIN,
    TEXT_WIDTH,
    TICK_SIZE,
    TITLE_SIZE,
    font,
    new_figure,
    text_size,
    wrap,
)

MAX_CELL = 0.8  # inches: the longer side of an image in a figure with few of them
LABEL_GAP = 0.08  # inches between a row's label and its images
SCALE_HEIGHT = 0.06  # inches


@dataclass(frozen=True)
class Row:
    """A mosaic with its label: `images` float [n, H, W, 3], as `to_rgb` gives them, `columns` of them side by side."""

    label: str
    images: np.ndarray
    columns: int


@dataclass(frozen=True)
class Scale:
    """What the greys of a column mean: `low` is the text for black, `high` that for white."""

    column: int
    low: str
    high: str


def image_rows(rows, *, headings=None, title=None, scale=None):
    """Draws rows of images, one set of axes a row.

    An image pixel covers a whole number of device pixels at 200 dpi wherever the page is wide enough, so that single
    revealed pixels come out the same size everywhere.

    **Arguments:** `rows`: `Row`s of images of one size; `headings`: a text above each column; `title`: above it all;
    `scale`: a `Scale` to draw below its column, or None.
    **Returns:** a matplotlib `Figure`, at most as wide as a page's text block.
    """
    image_height, image_width = rows[0].images.shape[1:3]
    columns = max(row.columns for row in rows)
    label_width = max(text_size(row.label, LABEL_SIZE)[0] for row in rows)
    left = MARGIN + (label_width + LABEL_GAP if label_width else 0)

    gap = max(1, image_width // 16)
    size = _pixels_per_pixel(columns * (image_width + gap) - gap, max(image_width, image_height), left)
    overhang = 0.0  # inches that a heading is wider than the image below it
    if headings:
        widest = max(text_size(heading, LABEL_SIZE)[0] for heading in headings)
        overhang = max(widest - image_width * size / DPI, 0)
        gap = max(gap, math.ceil((overhang + LABEL_GAP) * DPI / size) if overhang else 0)

    # From here on inches, from the top left corner downwards.
    mosaics = [tile(row.images, row.columns, gap) for row in rows]
    widths = [mosaic.shape[1] * size / DPI for mosaic in mosaics]
    heights = [mosaic.shape[0] * size / DPI for mosaic in mosaics]
    content = left + max(widths) + overhang / 2 + MARGIN
    width = content
    if title:  # a narrow figure grows for its title, up to a column's width; the rest of the title is wrapped
        width = max(content, min(text_size(title, TITLE_SIZE)[0] + 2 * MARGIN, COLUMN_WIDTH))
        title = wrap(title, width - 2 * MARGIN, TITLE_SIZE)
    left += _whole((width - content) / 2)

    y = MARGIN + (text_size(title, TITLE_SIZE)[1] + LABEL_GAP / 2 if title else 0)
    heading_top = y
    y = _whole(y + (text_size("x", LABEL_SIZE)[1] + LABEL_GAP / 2 if headings else 0))
    tops = []
    for row, row_height in zip(rows, heights, strict=True):
        pitch = max(row_height, _whole(text_size(row.label, LABEL_SIZE)[1]))  # labels of low rows do not touch
        tops.append(y + _whole((pitch - row_height) / 2))
        y += pitch + gap * size / DPI
    bottom = y - gap * size / DPI
    below = 0.0 if scale is None else LABEL_GAP + SCALE_HEIGHT + text_size("0", TICK_SIZE)[1]
    width, height = math.ceil(width * DPI) / DPI, math.ceil((bottom + below + MARGIN) * DPI) / DPI

    figure = new_figure(width, height)
    for row, mosaic, top, w, h in zip(rows, mosaics, tops, widths, heights, strict=True):
        axes = figure.add_axes((left / width, 1 - (top + h) / height, w / width, h / height), label=row.label)
        axes.imshow(mosaic, interpolation="nearest" if size >= 1 else "antialiased", aspect="auto")
        axes.set_axis_off()
        figure.text((left - LABEL_GAP) / width, 1 - (top + h / 2) / height, row.label, ha="right", va="center",
                    color=INK, fontproperties=font(LABEL_SIZE))
    for column, heading in enumerate(headings or ()):
        centre = left + (column * (image_width + gap) + image_width / 2) * size / DPI
        figure.text(centre / width, 1 - heading_top / height, heading, ha="center", va="top",
                    color=INK, fontproperties=font(LABEL_SIZE))
    if scale is not None:
        centre = left + (scale.column * (image_width + gap) + image_width / 2) * size / DPI
        _draw_scale(figure, scale, centre, bottom + LABEL_GAP, image_width * size / DPI)
    if title:
        figure.text(0.5, 1 - MARGIN / height, title, ha="center", va="top", color=INK, fontproperties=font(TITLE_SIZE))
    return figure


def _draw_scale(figure, scale, centre, top, length):
    """Draws the strip from black to white, as long as its texts at least; `centre`, `top`, `length` in inches."""
    width, height = figure.get_size_inches()
    length = max(length, text_size(scale.low, TICK_SIZE)[0] + LABEL_GAP + text_size(scale.high, TICK_SIZE)[0])
    left = centre - length / 2
    place = (left / width, 1 - (top + SCALE_HEIGHT) / height, length / width, SCALE_HEIGHT / height)
    axes = figure.add_axes(place, label="scale")
    axes.imshow(np.linspace(0, 1, 256)[None], cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color=INK)
    for at, text, side in ((left, scale.low, "left"), (left + length, scale.high, "right")):
        figure.text(at / width, 1 - (top + SCALE_HEIGHT) / height, text, ha=side, va="top", color=INK,
                    fontproperties=font(TICK_SIZE))


def _pixels_per_pixel(mosaic_width, longer_side, left):
    """Device pixels that an image pixel is wide: a whole number, or below one where the page is too narrow for that."""
    scale = min((TEXT_WIDTH - left - MARGIN) * DPI / mosaic_width, MAX_CELL * DPI / longer_side)
    return math.floor(scale) if scale >= 1 else scale


def _whole(inches):
    """Rounds up to whole device pixels."""
    return math.ceil(inches * DPI - 1e-6) / DPI
