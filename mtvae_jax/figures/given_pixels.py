"""Error of predicted hidden pixels against the number of revealed ones, a line a predictor."""

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy import stats

from mtvae_jax.figures.axes import dress, scale
from mtvae_jax.figures.style import COLUMN_WIDTH, INK, TITLE_SIZE, Mark, font, new_figure

_MARKS = {
    "mtvae": ("this model", Mark("#0072B2", "-", "o")),
    "regression": ("direct regression", Mark("#D55E00", (0, (4, 1.5)), "s")),
    "linear": ("linear", Mark("#009E73", (0, (1, 1)), "^")),
    "nearest": ("nearest image", Mark("#CC79A7", (0, (4, 1, 1, 1)), "v")),
    "mean": ("mean image", Mark("#666666", "-", "")),
    "chosen": ("chosen by the model", Mark("#0072B2", "-", "o")),
    "random": ("random", Mark("#D55E00", (0, (4, 1.5)), "s")),
}


def given_pixels(rows, *, title=None, metric="mse", label="mean squared error of hidden pixels"):
    """Draws how well hidden pixels are predicted from so many revealed ones.

    **Arguments:** `rows`: dicts with `predictor`, `count`, `seed` and the metric, of masks of one kind; `title`: text;
    `metric`, `label`: what is drawn, and its name with a unit.
    **Returns:** a matplotlib `Figure`; where there are several seeds a bar is the 95 % interval of their mean.
    """
    figure = new_figure(COLUMN_WIDTH * 1.35, 2.6, layout="constrained")
    axes = figure.add_subplot()
    counts, everything = sorted({row["count"] for row in rows}), []
    for name, (text, mark) in _MARKS.items():
        points = []
        for count in counts:
            values = [row[metric] for row in rows if row["predictor"] == name and row["count"] == count]
            if values:
                half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else 0.0
                points.append((count, np.mean(values), half))
        if points:
            x, y, half = np.array(points).T
            axes.errorbar(_place(x), y, half, color=mark.color, linestyle=mark.dash, marker=mark.marker, markersize=3.5,
                          linewidth=1.2, elinewidth=0.8, capsize=1.5, label=text)
            everything += list(y)
    dress(axes, x_label="revealed pixels", y_label=label)
    scale(axes, "y", everything)
    axes.xaxis.set_major_locator(FixedLocator(_place(np.array(counts))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda _, position: f"{counts[position]}"))
    axes.legend(frameon=False, prop=font(7), labelcolor=INK, handlelength=2.6)
    if title:
        figure.suptitle(title, color=INK, fontproperties=font(TITLE_SIZE))
    return figure


def _place(counts):
    """Where a count stands: on a scale that is logarithmic far from 0, and has a 0."""
    return np.arcsinh(np.asarray(counts, float) / 5)
