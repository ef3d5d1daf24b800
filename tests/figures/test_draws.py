"""Draws given pixels: a row an image, mean and deviation over all draws, whatever is shown of them."""

import numpy as np
import pytest

from mtvae_jax.figures import draws

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(size=(3, 8, 8, 1)).astype(np.float32)
MASK = np.zeros((8, 8, 1), bool)
MASK[::4, ::4] = True


def cells(figure, row, size=8):
    """The images of a row as float [columns, H, W, 3]."""
    mosaic = figure.axes[row].images[0].get_array()
    gap = 1
    count = (mosaic.shape[1] + gap) // (size + gap)
    return np.stack([mosaic[:size, i * (size + gap) : i * (size + gap) + size] for i in range(count)])


def test_a_row_shows_mean_and_deviation_over_all_draws():
    samples = RANDOM.uniform(size=(9, 3, 8, 8, 1)).astype(np.float32)
    figure = draws(IMAGES, MASK, samples, title="t")
    assert len(figure.axes) == 3 + 1
    row = cells(figure, 1)
    assert len(row) == 1 + 5 + 3
    np.testing.assert_allclose(row[1][..., 0], samples[0, 1, ..., 0], atol=1e-6)
    np.testing.assert_allclose(row[6][..., 0], samples[:, 1, ..., 0].mean(0), atol=1e-6)
    np.testing.assert_allclose(row[7][..., 0], 2 * samples[:, 1, ..., 0].std(0), atol=1e-6)
    np.testing.assert_allclose(row[8][..., 0], IMAGES[1, ..., 0], atol=1e-6)


def test_only_revealed_pixels_are_shown_as_revealed():
    figure = draws(IMAGES, MASK, np.stack([IMAGES, IMAGES]))
    revealed = cells(figure, 0)[0]
    np.testing.assert_allclose(revealed[MASK[..., 0]][:, 0], IMAGES[0][MASK], atol=1e-6)
    assert len(np.unique(revealed[~MASK[..., 0]], axis=0)) == 1  # the colour of what is hidden


@pytest.mark.parametrize("shape", [(1, 3, 8, 8, 1), (2, 2, 8, 8, 1), (3, 8, 8, 1)])
def test_draws_of_other_images_or_too_few_are_refused(shape):
    with pytest.raises(ValueError, match="must be at least 2 of images"):
        draws(IMAGES, MASK, np.zeros(shape))


@pytest.mark.parametrize("size", [1, 8, 28])
def test_the_deviation_has_a_scale_below_its_column(size):
    """Half of the draws black and half white have the largest deviation, 0.5, which is drawn white as at that end."""
    draw = np.zeros((3, size, size, 1), np.float32)
    figure = draws(draw, np.ones((size, size, 1), bool), np.stack([draw, draw + 1]))
    assert figure.axes[0].images[0].get_array().max() == 1
    figure.canvas.draw()
    strip = next(axes for axes in figure.axes if axes.get_label() == "scale").get_window_extent()
    texts = {text.get_text(): text.get_window_extent() for text in figure.texts}
    assert texts["0"].x0 == pytest.approx(strip.x0, abs=2)
    assert texts["0.5"].x1 == pytest.approx(strip.x1, abs=2)
    assert texts["0"].x1 < texts["0.5"].x0
    assert (strip.x0 + strip.x1) / 2 == pytest.approx((texts["std. dev."].x0 + texts["std. dev."].x1) / 2, abs=2)
    assert strip.y1 < min(axes.get_window_extent().y0 for axes in figure.axes[:3])
    assert all(box.y0 >= 0 and box.x1 <= figure.bbox.width for box in texts.values())
