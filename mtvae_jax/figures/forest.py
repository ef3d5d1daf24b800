"""Effects with their intervals, a row an effect, against what was expected of them (thesis 4.3 and the overview)."""

import math
from dataclasses import dataclass

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mtvae_jax.figures.axes import ROUND, dress
from mtvae_jax.figures.style import (
    COLUMN_WIDTH,
    INK,
    LABEL_SIZE,
    MARGIN,
    RULE,
    TEXT_WIDTH,
    TICK_SIZE,
    Mark,
    font,
    new_figure,
    text_size,
    wrap,
)

# Told apart by shape alone; colours are Okabe and Ito's.
VERDICTS = {
    "supported": Mark("#00795A", marker="o"),
    "refuted": Mark("#C14A00", marker="X"),
    "no difference": Mark("#0072B2", marker="s"),
    "undecided": Mark("#666666", marker="o"),  # hollow
}
EXPECTED = "#DCE9F2"
_GAP = 0.1  # inches between label, axes and text
_AXIS_HEIGHT = 0.38  # inches below the rows: ticks and the axis' name
_LEGEND_HEIGHT = 0.2
_ROW_PADDING = 0.06
_ROOM = 1.15  # the axis reaches this many times as far as the effects
_LEAST_SIDE = 0.3  # of the longer side of the axis is the least that its other side has
_TICKS_APART = 0.27  # inches
_CURVED_FROM = 8  # the axis is compressed where the largest effect is this many times the median one


@dataclass(frozen=True)
class Effect:
    """**Attributes:** `label`: text; `effect`, `low`, `high`: the mean and its interval, None where there is none;
    `verdict`: a key of `VERDICTS`, or None; `expected`: (low, high), either
    infinite, or None; `text`: the effect in numbers, to the right of the row; `points`: effects of single pairs, drawn
    small.
    """

    label: str
    effect: float | None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    expected: tuple | None = None
    text: str = ""
    points: tuple = ()


@dataclass(frozen=True)
class Group:
    """Effects below a common heading; "" for none."""

    heading: str
    effects: list


def forest(groups, x_label, *, narrow=False):
    """Draws a forest plot: effects of 0 lie on the dotted line, expected regions are shaded, verdicts have shapes.

    The axis holds all effects; an interval that goes on beyond its end has an arrow there. Where a few effects are
    many times the others the axis is linear around 0 and logarithmic further out.

    **Arguments:** `groups`: list of `Group`; `x_label`: what the effects are, with their unit; `narrow`: as wide as a
    column, with the texts below the labels.
    **Returns:** a matplotlib `Figure`.
    """
    width = COLUMN_WIDTH if narrow else TEXT_WIDTH
    effects = [effect for group in groups for effect in group.effects]
    label_room = width * (0.5 if narrow else 0.4)
    labels = {id(effect): wrap(effect.label, label_room, TICK_SIZE) for effect in effects}
    if narrow:
        labels = {id(effect): f"{labels[id(effect)]}\n{effect.text}".rstrip("\n") for effect in effects}
    left = MARGIN + max(text_size(label, TICK_SIZE)[0] for label in labels.values()) + _GAP
    texts = 0 if narrow else max(text_size(effect.text, TICK_SIZE)[0] for effect in effects)
    right = MARGIN + (texts + _GAP if texts else 0.08)

    # Inches downwards from the top of the rows
    y, places, headings = 0.0, [], []
    for group in groups:
        if group.heading:
            heading = wrap(group.heading, width - 2 * MARGIN, LABEL_SIZE, "bold")
            headings.append((y + 0.05, heading))
            y += 0.08 + text_size(heading, LABEL_SIZE)[1]
        for effect in group.effects:
            pitch = text_size(labels[id(effect)], TICK_SIZE)[1] + _ROW_PADDING
            places.append((effect, y, y + pitch))
            y += pitch
    handles = _handles(effects)
    columns = 2 if narrow else 4
    top = _LEGEND_HEIGHT * -(-len(handles) // columns) + MARGIN
    height = top + y + _AXIS_HEIGHT

    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, _AXIS_HEIGHT / height, (width - left - right) / width, y / height),
                           label="effects")
    axes.set_ylim(y, 0)
    ends = _set_x(axes, effects, width - left - right)
    for effect, above, below in places:
        _draw(axes, effect, above, below, *ends)
        middle = 1 - (top + (above + below) / 2) / height
        figure.text((left - _GAP) / width, middle, labels[id(effect)], ha="right", va="center", color=INK,
                    fontproperties=font(TICK_SIZE))
        if not narrow:
            figure.text(1 - MARGIN / width, middle, effect.text, ha="right", va="center", color=INK,
                        fontproperties=font(TICK_SIZE))
    for at, heading in headings:
        figure.text(MARGIN / width, 1 - (top + at) / height, heading, ha="left", va="top", color=INK,
                    fontproperties=font(LABEL_SIZE, "bold"))
    axes.axvline(0, color=RULE, linewidth=0.8, linestyle=":", zorder=1)
    dress(axes, x_label=x_label)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(NullLocator())
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1 - 0.02 / height), ncols=columns,
                  frameon=False, prop=font(TICK_SIZE), labelcolor=INK, handlelength=1.4, columnspacing=1.4,
                  borderaxespad=0)
    return figure


def _draw(axes, effect, above, below, left, right):
    middle = (above + below) / 2
    if effect.expected is not None:
        low, high = (min(max(end, left), right) for end in effect.expected)
        axes.fill_betweenx([above + 0.01, below - 0.01], low, high, color=EXPECTED, linewidth=0, zorder=0)
    mark = VERDICTS.get(effect.verdict, Mark(INK, marker="o"))
    for point in effect.points:
        axes.plot(point, middle, marker="|", markersize=5, color=INK, alpha=0.55, markeredgewidth=0.8, zorder=2)
    if effect.low is not None:
        low, high = max(effect.low, left), min(effect.high, right)
        axes.plot([low, high], [middle, middle], color=mark.color, linewidth=1.3, solid_capstyle="butt", zorder=3)
        for end, cut, arrow in ((low, effect.low < left, "<"), (high, effect.high > right, ">")):
            axes.plot(end, middle, marker=arrow if cut else "|", markersize=4.5 if cut else 5, color=mark.color,
                      markeredgewidth=0 if cut else 1.1, clip_on=False, zorder=3)
    if effect.effect is not None:
        hollow = effect.verdict == "undecided"
        axes.plot(effect.effect, middle, marker=mark.marker, markersize=5 if effect.verdict else 3.5, linestyle="",
                  color=mark.color, markerfacecolor="white" if hollow else mark.color, markeredgewidth=1.1, zorder=4)


def _set_x(axes, effects, inches):
    """Limits and ticks; returns the limits."""
    means = [value for effect in effects if effect.effect is not None for value in (effect.effect, *effect.points)]
    bounds = [end for effect in effects for end in effect.expected or () if math.isfinite(end)]
    ends = [end for effect in effects if effect.low is not None for end in (effect.low, effect.high)]
    sizes = sorted(abs(value) for value in means)
    typical = max(sizes[len(sizes) // 2] if sizes else 0.0, 1e-9)
    reach = _ROOM * max([*sizes, *map(abs, bounds)], default=typical)
    # Twice as far as the effects is enough for most intervals, but not for those of two replicates
    farthest = 2 * reach
    left = _ROOM * min(max(min([*means, *bounds, *ends], default=0), -farthest), 0)
    right = _ROOM * max(min(max([*means, *bounds, *ends], default=0), farthest), 0)
    left, right = min(left, -_LEAST_SIDE * right), max(right, -_LEAST_SIDE * left)
    if left == right:
        left, right = -1.0, 1.0
    if max(sizes, default=0.0) < _CURVED_FROM * typical:
        ticks = _round_ticks(left, right, most=max(2, int(inches / 0.45)))
    else:
        linear = 10.0 ** math.floor(math.log10(typical))
        axes.set_xscale("symlog", linthresh=linear, linscale=0.6)
        axes.set_xlim(left, right)
        decades = range(int(math.log10(reach / linear)) + 1)
        sizes = [m * linear * 10**decade for m in (1, 5, 2) for decade in decades]  # the roundest first
        ticks = _spread([0.0, *(sign * size for size in sizes for sign in (-1, 1))], axes, inches)
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    return left, right


def _spread(ticks, axes, inches):
    """Those of `ticks`, the most important first, that are within the axis and far enough from each other."""
    low, high = axes.get_xlim()
    place = axes.xaxis.get_transform().transform
    per_inch = (place(high) - place(low)) / inches
    kept = []
    for tick in ticks:
        if low <= tick <= high and all(abs(place(tick) - place(other)) >= _TICKS_APART * per_inch for other in kept):
            kept.append(tick)
    return sorted(kept)


def _round_ticks(left, right, most):
    """At most `most` round numbers between `left` and `right`, 0 among them."""
    power = 10.0 ** math.floor(math.log10(right - left))
    steps = [power * scale * m for scale in (0.1, 1) for m in ROUND]
    step = next(step for step in steps if (right - left) / step < most)
    return [step * i for i in range(math.ceil(left / step), math.floor(right / step) + 1)]


def _handles(effects):
    present = {effect.verdict for effect in effects}
    handles = [
        Line2D([], [], color=mark.color, marker=mark.marker, markersize=5, linewidth=1.3, label=name,
               markerfacecolor="white" if name == "undecided" else mark.color)
        for name, mark in VERDICTS.items()
        if name in present
    ]
    if any(effect.expected is not None for effect in effects):
        handles.append(Patch(color=EXPECTED, label="as the claim has it"))
    return handles
