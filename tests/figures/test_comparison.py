"""Models beside each other: what is drawn, and how far the axes reach."""

import numpy as np
import pytest

from mtvae_jax.figures.comparison import Level, Line, Panel, comparison
from mtvae_jax.figures.style import COLUMN_WIDTH, Mark

X = np.array([1.0, 2.0, 3.0])
BLUE, RED = Mark("#0000ff"), Mark("#ff0000", "--", "s")


def panel(*lines, title="KL", log=True):
    return Panel(title, "nats", list(lines), log)


def line(label, mean, half, mark=BLUE, **more):
    mean = np.asarray(mean, float)
    return Line(label, mark, X, mean, mean - half, mean + half, **more)


def drawn(axes, label):
    return next(item for item in axes.lines if item.get_label() == label)


@pytest.mark.parametrize("narrow", [False, True])
def test_lines_and_bands_are_where_the_numbers_are(narrow):
    figure = comparison([panel(line("a", [3, 2, 2], 0.1), line("b", [4, 3, 3], 0.2, RED)),
                         panel(line("a", [5, 6, 7], 0.1), title="MSE")], "epoch", band=True, narrow=narrow)
    first, second = figure.axes
    np.testing.assert_array_equal(drawn(first, "b").get_ydata(), [4, 3, 3])
    np.testing.assert_array_equal(drawn(second, "a").get_ydata(), [5, 6, 7])
    extents = first.collections[1].get_datalim(first.transData)
    assert (extents.ymin, extents.ymax) == pytest.approx((2.8, 4.2))
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b"]
    if narrow:
        assert figure.get_figwidth() == COLUMN_WIDTH
        assert second.get_position().y1 < first.get_position().y0


def test_a_wild_interval_does_not_flatten_the_means():
    axes = comparison([panel(line("a", [3, 2, 1.5], 500.0), log=False)], "epoch", band=True).axes[0]
    low, high = axes.get_ylim()
    assert low >= 0
    assert high < 5


def test_intervals_of_points_are_shown_whole():
    axes = comparison([panel(line("a", [3, 2, 1.5], 2.0))], "x").axes[0]
    low, high = axes.get_ylim()
    assert low <= 0.0
    assert high >= 5.0


def test_a_level_goes_across_and_notes_stand_at_their_points():
    axes = comparison([panel(Level("plain", RED, 2.5, 2.4, 2.6), line("a", [3, 2, 1], 0.1, notes=("p", "q", "r")))],
                      "x", x_ticks=[1, 3]).axes[0]
    assert set(drawn(axes, "plain").get_ydata()) == {2.5}
    assert [note.get_text() for note in axes.texts] == ["p", "q", "r"]
    assert list(axes.get_xticks()) == [1, 3]


@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize("odd", [
    Line("one run", BLUE, X, X, np.full(3, np.nan), np.full(3, np.nan)), line("equal means", [2, 2, 2], 0.0),
    Line("a point at 0", BLUE, np.array([2.0]), np.array([0.0])),
], ids=lambda line: line.label)
def test_odd_lines_can_be_drawn(odd, band):
    comparison([panel(odd)], "x", band=band).draw_without_rendering()
