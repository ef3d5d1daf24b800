"""The curves: which panels there are, what they draw and how their scales are chosen."""

import math

import numpy as np
import pytest
from figures.layout import assert_apart_and_inside

from mtvae_jax.errors import UserError
from mtvae_jax.figures import loss_curves

TERMS = ["loss", "reconstruction", "reconstruction_conditioned", "kl", "vq", "perplexity", "bits_per_dim"]


def records(epochs, terms=TERMS, splits=("train", "val")):
    """Falling curves with different values for every term and split."""
    return [
        {"epoch": epoch, "step": 10 * epoch}
        | {f"{s}/{t}": (i + 2 + (s == "val")) / epoch for i, t in enumerate(terms) for s in splits}
        for epoch in range(1, epochs + 1)
    ]


def curves(axes):
    """Label to values, of the curves with a label of their own."""
    return {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}


def marked(axes):
    """The epochs of the vertical lines."""
    return [line.get_xdata()[0] for line in axes.lines if line.get_label().startswith("_")]


def ticks_within(axis):
    low, high = axis.get_view_interval()
    return [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


@pytest.mark.parametrize("terms", [["loss"], ["loss", "kl"], ["loss", "reconstruction", "kl", "bits_per_dim"], TERMS])
def test_a_panel_for_each_term_that_occurs(terms):
    figure = loss_curves(records(20, terms))
    assert [axes.get_label() for axes in figure.axes] == terms
    for axes, term in zip(figure.axes, terms, strict=True):
        expected = {"training": [r[f"train/{term}"] for r in records(20, terms)],
                    "validation": [r[f"val/{term}"] for r in records(20, terms)]}
        drawn = curves(axes)
        assert drawn.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(drawn[name], values)
            np.testing.assert_array_equal(axes.lines[0].get_xdata(), range(1, 21))


def test_units_stand_at_the_axes():
    units = {axes.get_label(): axes.get_ylabel().replace("\n", " ") for axes in loss_curves(records(3)).axes}
    assert units["kl"] == "nats"
    assert units["reconstruction"] == units["reconstruction_conditioned"] == "mean squared error per pixel"
    assert units["bits_per_dim"] == "bits/dim"
    assert units["loss"] == "weighted sum of terms"


def test_the_epoch_of_the_lowest_validation_loss_is_marked_in_every_panel():
    rows = records(10)
    for row, loss in zip(rows, [9, 8, 7, math.nan, 6, 1, 5, 5, math.inf, 2], strict=True):
        row["val/loss"] = loss
    figure = loss_curves(rows)
    assert all(marked(axes) == [6] for axes in figure.axes)
    assert "best epoch: 6" in [text.get_text() for text in figure.legends[0].texts]


def test_without_a_validation_loss_nothing_is_marked():
    figure = loss_curves(records(5, splits=["train"]))
    assert not any(marked(axes) for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].texts] == ["training"]


def test_missing_and_infinite_values_leave_gaps_and_terms_without_any_value_no_panel():
    rows = records(4, ["loss", "kl"])
    rows[1]["val/kl"] = math.inf
    del rows[2]["val/kl"]
    for row in rows:
        row["val/vq"] = math.nan
        row["train/vq"] = None
    figure = loss_curves(rows)
    assert [axes.get_label() for axes in figure.axes] == ["loss", "kl"]
    np.testing.assert_array_equal(np.isnan(curves(figure.axes[1])["validation"]), [False, True, True, False])


@pytest.mark.parametrize(("term", "values", "scale"), [
    ("loss", [10, 5, 1], "log"), ("loss", [3, 2, 1], "linear"), ("kl", [0, 1, 20], "linear"),
    ("bits_per_dim", [100, 10, 1], "linear"), ("perplexity", [1, 10, 100], "linear"), ("vq", [1, 0.1, 1e-5], "log"),
    ("loss", [5, -1, 2], "linear")])  # fmt: skip
def test_the_scale_is_logarithmic_where_that_makes_sense(term, values, scale):
    figure = loss_curves([{"epoch": epoch, f"val/{term}": value} for epoch, value in enumerate(values, start=1)])
    assert figure.axes[0].get_yscale() == scale


def test_records_are_drawn_in_the_order_of_their_epochs():
    figure = loss_curves(records(6)[::-1])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), range(1, 7))


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "step": 3}], [{"epoch": 1, "val/loss": math.nan}]])
def test_a_run_without_anything_to_draw_is_the_users_mistake(rows):
    with pytest.raises(UserError, match="no epoch") as error:
        loss_curves(rows)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("epochs", [1, 2, 100])
@pytest.mark.parametrize("terms", [["loss"], TERMS[:4], TERMS])
def test_no_text_touches_another(epochs, terms):
    figure = loss_curves(records(epochs, terms), title="Multi-decoder Gaussian VAE, latent dimension 16, Fashion-MNIST")
    figure.canvas.draw()
    texts = [*figure.texts, *figure.legends[0].texts]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        texts += [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in ticks_within(axis)]
    assert_apart_and_inside(figure, texts)


def test_every_scale_has_at_least_two_labels():
    figure = loss_curves([{"epoch": e, "val/loss": 0.12 / e**0.4, "val/kl": 20 - 16 / e} for e in range(1, 60)])
    figure.canvas.draw()
    for axes in figure.axes:
        assert len(ticks_within(axes.yaxis)) >= 2
