"""The course of training, a panel a term (thesis figures 4.2, 4.4, 4.5, 4.6)."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D

from mtvae_jax.errors import UserError
from mtvae_jax.figures.axes import dress, scale, whole_numbers
from mtvae_jax.figures.style import (
    COLUMN_WIDTH,
    INK,
    RULE,
    TEXT_WIDTH,
    TICK_SIZE,
    TITLE_SIZE,
    TRAIN,
    VALIDATION,
    font,
    new_figure,
    text_size,
    wrap,
)


@dataclass(frozen=True)
class Term:
    """A metric as a panel shows it; `log`: its scale may be logarithmic."""

    key: str
    name: str
    unit: str
    log: bool = True


TERMS = (
    Term("loss", "Loss", "weighted sum of terms"),
    Term("reconstruction", "Reconstruction from z", "mean squared error\nper pixel"),
    Term("reconstruction_conditioned", "Reconstruction from z and m", "mean squared error\nper pixel"),
    Term("kl", "KL divergence", "nats"),
    Term("vq", "VQ objective", "squared distance"),
    Term("perplexity", "Codebook perplexity", "codes", log=False),
    Term("bits_per_dim", "Negative ELBO", "bits/dim", log=False),
    Term("nats_per_code", "p(z)", "nats a code", log=False),
    Term("nats_per_code_conditioned", "p(z|m)", "nats a code", log=False),
)

SPLITS = {  # the validation curve is drawn last, on top
    "train": {"color": TRAIN, "linestyle": (0, (3, 1.2)), "linewidth": 1.2, "label": "training"},
    "val": {"color": VALIDATION, "linestyle": "-", "linewidth": 1.2, "label": "validation"},
}
PANEL_HEIGHT = 1.65  # inches


def loss_curves(records, *, title=None, loss_unit=None):
    """Draws training and validation curves over the epochs, the epoch of the lowest validation loss marked.

    A term that no record holds gets no panel. Values that are missing or not finite leave a gap.

    **Arguments:** `records`: a dict an epoch, as `metrics.jsonl` holds them: `epoch` and `train/TERM`, `val/TERM`;
    `title`: text; `loss_unit`: what the loss is measured in, None for that of a weighted sum.
    **Returns:** a matplotlib `Figure`, one set of axes a term.
    **Raises:** `UserError` if no record holds any term.
    """
    records = sorted(records, key=lambda record: record["epoch"])
    epochs = np.array([record["epoch"] for record in records])
    panels = {term: curves for term in TERMS if (curves := _curves(records, term))}
    if not panels:
        raise UserError("loss curves: no epoch with a metric to draw is recorded; train for at least one epoch")
    best = _best_epoch(epochs, _curve(records, "val/loss"))

    columns = _columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    width = COLUMN_WIDTH if len(panels) == 1 else TEXT_WIDTH * columns / 3
    title = wrap(title, width - 0.2, TITLE_SIZE) if title else ""
    head = 0.25 + (text_size(title, TITLE_SIZE)[1] if title else 0)  # inches above the panels: legend and title
    figure = new_figure(width, rows * PANEL_HEIGHT + head, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, rect=(0, 0, 1, 1 - head / figure.get_figheight()))
    grid = figure.add_gridspec(rows, columns)

    for index, (term, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[divmod(index, columns)], label=term.key)
        for split, values in curves.items():
            axes.plot(epochs, values, **SPLITS[split], marker="o" if len(epochs) <= 15 else "", markersize=2.5)
        unit = loss_unit if term.key == "loss" and loss_unit is not None else term.unit
        _dress(axes, term, unit, curves, lowest=index + columns >= len(panels))
        if best is not None:
            axes.axvline(best, color=RULE, linewidth=0.8, linestyle=":", zorder=0)

    _legend(figure, set().union(*panels.values()), best, head, title)
    return figure


def _curve(records, key):
    """The values of `key`, float [epochs], NaN where it is missing or not finite."""
    values = [record.get(key) for record in records]
    values = np.array([math.nan if value is None else float(value) for value in values])
    return np.where(np.isfinite(values), values, math.nan)


def _curves(records, term):
    """Split to values, of the splits that have any."""
    curves = {split: _curve(records, f"{split}/{term.key}") for split in SPLITS}
    return {split: values for split, values in curves.items() if np.isfinite(values).any()}


def _best_epoch(epochs, loss):
    return int(epochs[np.nanargmin(loss)]) if np.isfinite(loss).any() else None


def _columns(panels):
    return 2 if panels in (2, 4) else min(panels, 3)


def _dress(axes, term, unit, curves, *, lowest):
    dress(axes, title=term.name, x_label="epoch" if lowest else None, y_label=unit)
    whole_numbers(axes.xaxis)
    scale(axes, "y", np.concatenate(list(curves.values())), log=term.log)


def _legend(figure, splits, best, head, title):
    handles = [Line2D([], [], **style) for split, style in SPLITS.items() if split in splits]
    if best is not None:
        handles.append(Line2D([], [], color=RULE, linewidth=0.8, linestyle=":", label=f"best epoch: {best}"))
    height = figure.get_figheight()
    if title:
        figure.text(0.5, 1 - 0.04 / height, title, ha="center", va="top", color=INK, fontproperties=font(TITLE_SIZE))
    legend = figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1 - head / height), ncols=3,
                           frameon=False, prop=font(TICK_SIZE), labelcolor=INK, handlelength=2, columnspacing=1.5,
                           borderaxespad=0.3)
    legend.set_in_layout(False)
