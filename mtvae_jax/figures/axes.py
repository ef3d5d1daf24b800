"""How every set of axes with numbers on it is dressed: text, ticks, and a scale chosen by the values."""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mtvae_jax.figures.style import FONT_FAMILY, INK, LABEL_SIZE, TICK_SIZE, font

ROUND = (1, 2, 2.5, 5, 10)  # ticks are these times a power of ten apart
LOG_FROM = 5  # a scale is logarithmic where the largest value is this many times the smallest


def dress(axes, *, title=None, x_label=None, y_label=None):
    """Puts the text around a set of axes and leaves of its frame what carries ticks; None: no such text."""
    if title is not None:
        axes.set_title(title, fontproperties=font(LABEL_SIZE), color=INK, pad=4)
    if y_label is not None:
        axes.set_ylabel(y_label, fontproperties=font(TICK_SIZE), color=INK, labelpad=2)
    if x_label is not None:
        axes.set_xlabel(x_label, fontproperties=font(TICK_SIZE), color=INK, labelpad=2)
    axes.tick_params(labelsize=TICK_SIZE, labelfontfamily=FONT_FAMILY, color=INK, labelcolor=INK, width=0.6, length=2.5,
                     pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.6, color=INK)


def whole_numbers(axis):
    """Ticks at whole numbers, such as epochs."""
    axis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1, steps=ROUND))


def scale(axes, which, values, *, log=True):
    """Makes the "x" or "y" scale logarithmic where `values` span a wide range and `log` allows it, with round ticks."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    lowest, highest = (values.min(), values.max()) if len(values) else (1.0, 1.0)
    if log and lowest > 0 and highest >= LOG_FROM * lowest:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=_labelled_multiples(highest / lowest)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(LogLocator(subs=range(1, 10)))
        axis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis=which, which="minor", width=0.4, length=1.5, color=INK)
    else:
        axis.set_major_locator(MaxNLocator(5, steps=ROUND))


def _labelled_multiples(ratio):
    """Which multiples of a power of ten are labelled on a scale whose ends have this `ratio`."""
    return (1, 2, 3, 5) if ratio < 20 else (1, 2, 5) if ratio < 100 else (1,)
