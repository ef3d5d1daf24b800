"""The benchmark of chosen pixels, with a model whose answers are known."""

import numpy as np
import pytest

from benchmarks.next_pixels import chosen, hidden_error, paired

IMAGES = np.random.default_rng(0).random((4, 3, 5, 1), np.float32)


class Known:
    """Predicts 0 wherever nothing is revealed, and asks for pixels row by row."""

    def sample(self, n, key, images, mask):
        return np.stack([np.where(mask, images, 0)] * n)

    def next_pixels(self, images, mask, n, key, *, draws):
        first = (~mask.reshape(len(mask), -1)).argmax(1)
        return np.stack(np.divmod(first, images.shape[2]), axis=-1)[:, None]


def test_what_it_asks_for_is_revealed_and_the_rest_is_judged():
    errors, masks, milliseconds = chosen(Known(), IMAGES, 4, num_draws=2)
    assert list(errors) == [0, 1, 2, 3, 4]
    expected = np.zeros(15, bool)
    expected[:4] = True
    np.testing.assert_array_equal(masks.reshape(4, -1), np.tile(expected, (4, 1)))
    flat = IMAGES.reshape(4, -1).astype(np.float64)
    np.testing.assert_allclose(errors[0], np.mean(flat**2, 1), rtol=1e-6)
    np.testing.assert_allclose(errors[4], np.mean(flat[:, 4:] ** 2, 1), rtol=1e-6)
    assert milliseconds > 0


def test_revealed_pixels_do_not_count():
    mask = np.zeros((4, 3, 5, 1), bool)
    mask[:, 0, 0] = True
    wrong_there = Known()
    wrong_there.sample = lambda n, key, images, mask: np.stack([np.where(mask, images + 9, images)] * n)
    np.testing.assert_array_equal(hidden_error(wrong_there, IMAGES, mask, 2), 0)


def test_intervals_are_of_students_t():
    mean, half = paired(np.array([1.0, 2.0, 3.0]))
    assert mean == 2
    assert half == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)  # t of two degrees of freedom, from a table
