"""What a person wants to see of a training that went wrong: how the terms went there, and on which images."""

import math

import numpy as np
from matplotlib.patches import Rectangle

from mtvae_jax.errors import number_of
from mtvae_jax.figures.axes import dress, scale, whole_numbers
from mtvae_jax.figures.loss_curves import PANEL_HEIGHT, TERMS
from mtvae_jax.figures.mosaic import channel_note, tile, to_rgb
from mtvae_jax.figures.style import (
    INK,
    MARGIN,
    RULE,
    TEXT_WIDTH,
    TICK_SIZE,
    TITLE_SIZE,
    TRAIN,
    font,
    line_height,
    new_figure,
    text_size,
    wrap,
)

ALARM = "#D55E00"  # Okabe and Ito's vermilion
MAX_IMAGES = 128
_COLUMNS = 16
_MAX_CELL = 0.36  # inches
_GAP = 0.1  # inches between the parts
_NAMES = {term.key: term.name for term in TERMS}


def failure(steps, curves, images, indices, bad, *, split, title):
    """Draws the course of each term up to the step that went wrong, the last one, and the images that it went wrong on.

    Images whose own terms are not finite are framed, unless all are. Of many images those are shown among which the
    first of these is. The number left of a row is that of its first image in the list of indices.

    **Arguments:** `steps`: int [n], of no step no panels are drawn; `curves`: {term: float [n]}; `images`: [B, H, W, C]
    as all figures take them, or None; `indices`: int [B], of the images in the split; `bad`: bool [B]; `split`: its
    name; `title`: text.
    **Returns:** a matplotlib `Figure`, first an axes a term, then that of the images.
    """
    order = [*_NAMES, *curves]
    curves = {name: curves[name] for name in sorted(curves, key=order.index)} if len(steps) else {}
    shown = _window(np.asarray(bad))
    mosaic = None if images is None else _Mosaic(to_rgb(images[shown]))
    rows = math.ceil(len(curves) / 3)
    title = wrap(title, TEXT_WIDTH - 2 * MARGIN, TITLE_SIZE)
    caption = _caption(np.asarray(indices), np.asarray(bad), split, shown)
    if mosaic and channel_note(images):
        caption += f". Shown: {channel_note(images)}"
    caption = wrap(caption, TEXT_WIDTH - 2 * MARGIN, TICK_SIZE)

    # Inches, from the top downwards
    head = MARGIN + text_size(title, TITLE_SIZE)[1] + _GAP
    panels = rows * PANEL_HEIGHT + (_GAP if rows else 0)
    below = head + panels + text_size(caption, TICK_SIZE)[1] + _GAP / 2
    height = below + (mosaic.height if mosaic else 0) + MARGIN
    figure = new_figure(TEXT_WIDTH, height, layout="constrained" if curves else None)

    def write(text, top, size):
        figure.text(0.5, 1 - top / height, text, ha="center", va="top", color=INK,
                    fontproperties=font(size)).set_in_layout(False)

    write(title, MARGIN, TITLE_SIZE)
    write(caption, head + panels, TICK_SIZE)
    if curves:
        rect = 0, 1 - (head + panels - _GAP) / height, 1, (panels - _GAP) / height
        figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, rect=rect)
        grid = figure.add_gridspec(rows, min(3, len(curves)))
        for index, (name, values) in enumerate(curves.items()):
            axes = figure.add_subplot(grid[divmod(index, 3)], label=name)
            _panel(axes, name, np.asarray(steps), np.asarray(values, float), lowest=index + 3 >= len(curves))
    if mosaic:
        mosaic.draw(figure, below, height, shown.start, [] if np.all(bad) else np.flatnonzero(bad[shown]))
    return figure


class _Mosaic:
    """The images in rows of `_COLUMNS`, with the number of each row's first."""

    def __init__(self, images):
        self._size = images.shape[1:3]
        self._gap = max(1, images.shape[2] // 10)
        self._array = tile(images, _COLUMNS, self._gap)
        self._left = MARGIN + text_size("0000", TICK_SIZE)[0] + 0.08
        widest = _COLUMNS * (images.shape[2] + self._gap) - self._gap
        scale = min((TEXT_WIDTH - 2 * self._left) / widest, _MAX_CELL / max(self._size))  # inches a pixel
        self._left = (TEXT_WIDTH - widest * scale) / 2
        self._scale = scale
        self.height = max(self._array.shape[0] * scale, line_height(TICK_SIZE))

    def draw(self, figure, top, figure_height, first, framed):
        rows, columns = self._array.shape[:2]
        width, height = columns * self._scale, rows * self._scale
        axes = figure.add_axes(
            (self._left / TEXT_WIDTH, 1 - (top + height) / figure_height, width / TEXT_WIDTH, height / figure_height),
            label="images",
        )
        axes.set_in_layout(False)
        axes.imshow(self._array, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        for row in range(math.ceil(rows / (self._size[0] + self._gap))):
            middle = top + (row * (self._size[0] + self._gap) + self._size[0] / 2) * self._scale
            figure.text((self._left - 0.08) / TEXT_WIDTH, 1 - middle / figure_height, str(first + row * _COLUMNS),
                        ha="right", va="center", color=INK, fontproperties=font(TICK_SIZE))
        for number in framed:
            row, column = divmod(int(number), _COLUMNS)
            corner = column * (self._size[1] + self._gap) - 0.5, row * (self._size[0] + self._gap) - 0.5
            axes.add_patch(Rectangle(corner, self._size[1], self._size[0], fill=False, edgecolor=ALARM, linewidth=1.6,
                                     clip_on=False))


def _window(bad):
    """The images to show: a slice, among them the first bad one."""
    first = int(np.argmax(bad)) // MAX_IMAGES * MAX_IMAGES
    return slice(first, min(first + MAX_IMAGES, len(bad)))


def _caption(indices, bad, split, shown):
    number, places = np.count_nonzero(bad), len(indices)
    what = number_of(places, f"{split} image") + (" of the step" if split == "training" else "")
    if number == places:
        text = f"The {what}: none is finite by itself"
    elif number:
        first = indices[np.argmax(bad)]
        text = f"The {what}: {number:,} framed, not finite by themselves; the first is image {first:,}"
    else:
        text = f"The {what}: each is finite by itself"
    return text if shown == slice(0, places) else f"{text}. Shown: {shown.start:,} to {shown.stop - 1:,}"


def _panel(axes, name, steps, values, *, lowest):
    wrong = not np.isfinite(values[-1])
    axes.plot(steps, np.where(np.isfinite(values), values, math.nan), color=TRAIN, linewidth=1.2, marker="o",
              markersize=1.8)
    axes.axvline(steps[-1], color=ALARM if wrong else RULE, linewidth=1.0, linestyle="-" if wrong else ":", zorder=0)
    dress(axes, title=_NAMES.get(name, name), x_label="step" if lowest else None)
    if wrong:
        axes.annotate(f"{values[-1]}", (steps[-1], 0), xycoords=("data", "axes fraction"), xytext=(-3, 3),
                      textcoords="offset points", ha="right", va="bottom", color=ALARM,
                      fontproperties=font(TICK_SIZE, "bold"),
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
    whole_numbers(axes.xaxis)
    scale(axes, "y", values)
