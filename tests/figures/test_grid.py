"""Effects on a grid: each square says its number, and what is sure is told from what is not."""

import numpy as np

from mtvae_jax.figures.grid import Grid, grids


def test_every_known_effect_has_a_square_with_its_number():
    effects = np.array([[-12.3, 0.04], [np.nan, 7.0]])
    figure = grids([Grid("KL divergence", ["digits", "clothes"], ["β = 1", "β = 2"], effects, effects > 5)] * 2)
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["−12", "+0.0", "+7.0"]
        assert [patch.get_linewidth() > 0 and patch.get_edgecolor()[3] > 0 for patch in axes.patches] == [
            False, False, True]
        assert [text.get_weight() for text in axes.texts] == ["normal", "normal", "bold"]
        assert axes.patches[0].get_facecolor() != axes.patches[2].get_facecolor()
    assert len({axes.get_position().y0 for axes in figure.axes}) == 2
