"""The forest plot: marks at the effects, shading of what is expected, an axis that holds both."""

import itertools
import math

import pytest

from mtvae_jax.figures.forest import VERDICTS, Effect, Group, forest

INF = math.inf


def plot(*effects, narrow=False):
    figure = forest([Group("C1", list(effects))], "effect, per cent", narrow=narrow)
    figure.draw_without_rendering()
    return figure, figure.axes[0]


def marks(axes):
    """(effect, marker, filled) of the large marks."""
    return [(line.get_xdata()[0], line.get_marker(), line.get_markerfacecolor() != "white")
            for line in axes.lines if line.get_marker() in ("o", "X") and len(line.get_xdata()) == 1]


def test_a_verdict_has_a_shape_of_its_own():
    _, axes = plot(Effect("a", -4.0, -5.0, -3.0, "supported"), Effect("b", 2.0, 1.0, 3.0, "refuted"),
                   Effect("c", 0.5, -1.0, 2.0, "undecided"))
    assert marks(axes) == [(-4.0, "o", True), (2.0, "X", True), (0.5, "o", False)]
    assert len({(mark.marker, name == "undecided") for name, mark in VERDICTS.items()}) == len(VERDICTS)


@pytest.mark.parametrize("narrow", [False, True])
def test_labels_texts_and_legend(narrow):
    effect = Effect("KL of the one", -4.0, -5.0, -3.0, "supported", (-INF, 0), "−4.0 [−5.0, −3.0]")
    figure, _ = plot(effect, narrow=narrow)
    texts = [text.get_text() for text in figure.texts]
    assert "KL of the one" in [text.replace("\n", " ").removesuffix(" −4.0 [−5.0, −3.0]") for text in texts]
    assert "C1" in texts
    assert "−4.0 [−5.0, −3.0]" in "\n".join(texts).split("\n")  # on a phone too, below the label
    assert [text.get_text() for text in figure.legends[0].texts] == ["supported", "as the claim has it"]


def test_the_expected_region_ends_at_its_bounds_or_at_the_frame():
    _, axes = plot(Effect("a", 4.0, 3.0, 5.0, "supported", (0, 10)), Effect("b", -4.0, -5.0, -3.0, "refuted", (0, INF)))
    spans = [(c.get_paths()[0].vertices[:, 0].min(), c.get_paths()[0].vertices[:, 0].max()) for c in axes.collections]
    assert spans == [(0, 10), (0, axes.get_xlim()[1])]


def test_an_interval_that_goes_on_has_an_arrow():
    _, axes = plot(Effect("a", 1.0, -900.0, 902.0, "undecided"), Effect("b", -3.0, -4.0, -2.0, "supported"))
    assert axes.get_xlim()[0] > -20
    assert [line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")] == ["<", ">"]


def test_effects_of_unlike_size_share_an_axis_that_is_curved():
    _, axes = plot(*(Effect(str(size), size, size * 0.9, size * 1.1, "supported") for size in (0.5, 1.0, 1.5, 90.0)))
    assert axes.get_xscale() == "symlog"
    low, high = axes.get_xlim()
    assert low < 0 < 90 < high
    labels = sorted((tick.label1.get_window_extent() for tick in axes.xaxis.get_major_ticks()), key=lambda box: box.x0)
    assert len(labels) > 3
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(labels))


@pytest.mark.parametrize("effect", [
    Effect("nothing", None), Effect("zero", 0.0, 0.0, 0.0, "undecided"), Effect("alone", 3.0, verdict="undecided"),
    Effect("a", 1e-7, 0.0, 2e-7, "supported", (0, INF)), Effect("large", 4e4, 3e4, 5e4, "refuted", (-2, 2)),
])
def test_odd_effects_can_be_drawn(effect):
    for narrow in (False, True):
        plot(effect, narrow=narrow)
