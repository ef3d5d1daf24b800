"""Effects on a grid of two factors: a coloured square each, with its number."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from mtvae_jax.figures.style import (
    COLUMN_WIDTH,
    INK,
    LABEL_SIZE,
    MARGIN,
    TEXT_WIDTH,
    TICK_SIZE,
    font,
    new_figure,
    text_size,
)

_SQUARE = 0.26  # inches: its height
_HEADING = 0.34  # inches above a grid: its title and the names of its columns
_COLOURS = "PuOr"  # told apart by colour-blind readers: brown below 0, violet above
_PALE = 0.55  # of the scale: beyond that numbers are white


@dataclass(frozen=True)
class Grid:
    """**Attributes:** `title`; `rows`, `columns`: names; `effects`: float [rows, columns], NaN where there is none;
    `sure`: bool, alike: whether 0 is left out of the interval."""

    title: str
    rows: list
    columns: list
    effects: np.ndarray
    sure: np.ndarray


def grids(of, *, narrow=False):
    """Grids below each other. Squares are coloured by effect, each grid on a scale of its own, symmetric around 0;
    what is sure is framed and bold.

    **Arguments:** `of`: list of `Grid`; `narrow`: as wide as a column.
    **Returns:** a matplotlib `Figure`.
    """
    width = COLUMN_WIDTH if narrow else TEXT_WIDTH
    height = sum(_HEADING + _SQUARE * len(grid.rows) for grid in of) + 2 * MARGIN
    figure, top = new_figure(width, height), height - MARGIN
    left = max(text_size(row, TICK_SIZE)[0] for grid in of for row in grid.rows) + 2 * MARGIN
    for grid in of:
        top -= _HEADING
        axes = figure.add_axes([left / width, (top - _SQUARE * len(grid.rows)) / height, 1 - (left + MARGIN) / width,
                                _SQUARE * len(grid.rows) / height])
        _draw(axes, grid)
        figure.text(MARGIN / width, (top + _HEADING - 0.04) / height, grid.title, va="top",
                    fontproperties=font(LABEL_SIZE, "bold"), color=INK)
        top -= _SQUARE * len(grid.rows)
    return figure


def _draw(axes, grid):
    largest = np.nanmax(np.abs(grid.effects), initial=0.0) or 1.0
    colour, scale = colormaps[_COLOURS], Normalize(-largest, largest)
    for (row, column), effect in np.ndenumerate(grid.effects):
        if not np.isfinite(effect):
            continue
        sure = bool(grid.sure[row, column])
        axes.add_patch(Rectangle((column + 0.03, row + 0.06), 0.94, 0.88, facecolor=colour(scale(effect)),
                                 edgecolor=INK if sure else "none", linewidth=1.0))
        places = 0 if abs(effect) >= 9.95 else 1
        axes.text(column + 0.5, row + 0.5, f"{effect:+.{places}f}".replace("-", "−"), ha="center", va="center",
                  fontproperties=font(TICK_SIZE, "bold" if sure else "normal"),
                  color="white" if abs(effect) > _PALE * largest else INK)
    axes.set_xlim(0, len(grid.columns))
    axes.set_ylim(len(grid.rows), 0)
    axes.set_xticks(np.arange(len(grid.columns)) + 0.5, grid.columns, fontproperties=font(TICK_SIZE), color=INK)
    axes.set_yticks(np.arange(len(grid.rows)) + 0.5, grid.rows, fontproperties=font(TICK_SIZE), color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, pad=1)
    for side in axes.spines.values():
        side.set_visible(False)
