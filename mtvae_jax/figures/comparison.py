"""Models beside each other: a panel a metric, a line a model, its mean over replicates with an interval."""

from dataclasses import dataclass, field

import numpy as np
from matplotlib.lines import Line2D

from mtvae_jax.figures.axes import dress, scale, whole_numbers
from mtvae_jax.figures.style import COLUMN_WIDTH, INK, TEXT_WIDTH, TICK_SIZE, Mark, font, new_figure, text_size

PANEL_HEIGHT, SINGLE_HEIGHT = 2.0, 2.5  # inches
_MARKER_SIZE = 4  # points
_ROOM = 0.06  # of the range of the means, kept free on each side of them
_WIDEST_BAND, _WIDEST_BAR = 0.35, 4.0  # ranges of the means that an interval may reach beyond them before it is cut
_FEW = 5  # points of a curve that get markers


@dataclass(frozen=True)
class Line:
    """One model in one panel.

    **Attributes:** `label`: for the legend, lines of one label share it; `mark`: its colour, dash and marker; `x`,
    `mean`: float [n]; `low`, `high`: ends of the interval around `mean`, float [n], NaN or None where there is none;
    `x_low`, `x_high`: the same of `x`; `notes`: a short text at each point, or ().
    """

    label: str
    mark: Mark
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    x_low: np.ndarray | None = None
    x_high: np.ndarray | None = None
    notes: tuple = ()


@dataclass(frozen=True)
class Level:
    """A model that does not depend on x: a horizontal line with the interval around it."""

    label: str
    mark: Mark
    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """**Attributes:** `title`, `unit`: of the y axis; `lines`: of `Line` or `Level`; `log`: the y scale may be
    logarithmic."""

    title: str
    unit: str
    lines: list = field(default_factory=list)
    log: bool = True


def comparison(panels, x_label, *, band=False, x_whole=False, x_ticks=None, narrow=False):
    """Draws panels that share an x axis and one legend.

    The y range is that of the means; an interval that goes far beyond, as that of two replicates may, is cut off at
    the frame.

    **Arguments:** `panels`: list of `Panel`; `x_label`: text; `band`: intervals are shaded bands around curves without
    markers, not bars at points; `x_whole`: x are whole numbers; `x_ticks`: where to put the ticks; `narrow`: one panel
    above the other, as wide as a column.
    **Returns:** a matplotlib `Figure`.
    """
    columns = 1 if narrow or len(panels) == 1 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width = COLUMN_WIDTH if narrow else {1: 0.65 * TEXT_WIDTH}.get(columns, TEXT_WIDTH)
    handles = _handles(panels, band)
    legend_columns = _legend_columns(handles, width)
    head = 0.12 + 0.165 * -(-len(handles) // legend_columns)  # inches above the panels
    panel_height = SINGLE_HEIGHT if len(panels) == 1 else PANEL_HEIGHT
    figure = new_figure(width, rows * panel_height + head, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, rect=(0, 0, 1, 1 - head / figure.get_figheight()))
    grid = figure.add_gridspec(rows, columns)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(grid[divmod(index, columns)], label=panel.title)
        for line in panel.lines:
            (_draw_level if isinstance(line, Level) else _draw_line)(axes, line, band)
        lowest = index + columns >= len(panels)
        dress(axes, title=panel.title, x_label=x_label if lowest else None, y_label=panel.unit)
        if x_ticks is not None:
            axes.set_xticks(x_ticks)
        elif x_whole:
            whole_numbers(axes.xaxis)
        else:
            scale(axes, "x", np.concatenate([line.x for line in panel.lines if isinstance(line, Line)]), log=False)
        _set_y(axes, panel, _WIDEST_BAND if band else _WIDEST_BAR)
    legend = figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1 - head / figure.get_figheight()),
                           ncols=legend_columns, frameon=False, prop=font(TICK_SIZE), labelcolor=INK, handlelength=2.4,
                           columnspacing=1.4, borderaxespad=0.2)
    legend.set_in_layout(False)
    return figure


def _draw_line(axes, line, band):
    mark = line.mark
    if band:
        if line.low is not None:
            axes.fill_between(line.x, line.low, line.high, color=mark.color, alpha=0.18, linewidth=0)
        few = np.isfinite(line.mean).sum() <= _FEW
        axes.plot(line.x, line.mean, color=mark.color, linestyle=mark.dash, linewidth=1.3,
                  marker=mark.marker if few else "", markersize=2.5, label=line.label)
        return
    axes.plot(line.x, line.mean, color=mark.color, linestyle=mark.dash, linewidth=1.1, marker=mark.marker,
              markersize=_MARKER_SIZE, label=line.label, zorder=3)
    errors = {"yerr": (line.mean, line.low, line.high), "xerr": (line.x, line.x_low, line.x_high)}
    errors = {name: _arms(*ends) for name, ends in errors.items() if ends[1] is not None}
    if errors:
        axes.errorbar(line.x, line.mean, **errors, fmt="none", ecolor=mark.color, elinewidth=0.9, capsize=2,
                      capthick=0.9)
    for x, y, note in zip(line.x, line.mean, line.notes, strict=False):
        axes.annotate(note, (x, y), xytext=(4, 3), textcoords="offset points", color=mark.color,
                      fontproperties=font(TICK_SIZE - 1))


def _draw_level(axes, level, _):
    if level.low is not None:
        axes.axhspan(level.low, level.high, color=level.mark.color, alpha=0.13, linewidth=0)
    axes.axhline(level.mean, color=level.mark.color, linestyle=level.mark.dash, linewidth=1.1, label=level.label)


def _arms(middle, low, high):
    """Lengths of error bars, [2, n], zero where there is no interval."""
    return np.nan_to_num(np.maximum([middle - low, high - middle], 0))


def _set_y(axes, panel, widest):
    """The scale, and limits by the means."""
    means = np.concatenate([np.atleast_1d(line.mean) for line in panel.lines])
    scale(axes, "y", means, log=panel.log)
    low, high = np.nanmin(means), np.nanmax(means)
    ends = [np.atleast_1d(end) for line in panel.lines for end in (line.low, line.high) if end is not None]
    ends = np.concatenate([means, *ends])
    is_log = axes.get_yscale() == "log"
    if is_log:
        low, high, ends = np.log(low), np.log(high), np.log(ends[ends > 0])
    span = (high - low) or abs(high) or 1.0
    low, high = max(np.nanmin(ends), low - widest * span), min(np.nanmax(ends), high + widest * span)
    low, high = low - _ROOM * span, high + _ROOM * span
    if not is_log and np.nanmin(means) >= 0:
        low = max(low, 0.0)
    axes.set_ylim(*(np.exp((low, high)) if is_log else (low, high)))


def _handles(panels, band):
    marks = {line.label: (line.mark, isinstance(line, Level)) for panel in panels for line in panel.lines}
    return [
        Line2D([], [], color=mark.color, linestyle=mark.dash, linewidth=1.3, markersize=_MARKER_SIZE, label=label,
               marker="" if band or level else mark.marker)
        for label, (mark, level) in marks.items()
    ]


def _legend_columns(handles, width):
    widest = max(text_size(handle.get_label(), TICK_SIZE)[0] for handle in handles) + 0.45
    return max(1, min(len(handles), int((width - 0.1) // widest)))
