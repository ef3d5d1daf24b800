import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtvae_jax.trained.batches import batched, batched_draws


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300))
def test_batches_are_of_few_sizes_and_leave_out_no_row(num):
    sizes = set()

    def double(rows, nothing):
        assert nothing is None
        sizes.add(len(rows))
        return 2 * rows

    rows = np.arange(num)
    np.testing.assert_array_equal(batched(double, rows, None), 2 * rows)
    assert sizes <= {1, 4, 16, 64, 256}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 80), st.integers(1, 70))
def test_every_draw_meets_the_array_of_its_row(n, num):
    calls = []

    def add(drawn, rows, nothing):
        assert nothing is None
        calls.append((len(drawn) // len(rows), len(rows)))
        return drawn + np.tile(rows, (len(drawn) // len(rows), 1))

    drawn = np.arange(n * num * 2.0).reshape(n, num, 2)
    rows = 1000.0 * np.arange(num)[:, None]
    np.testing.assert_array_equal(batched_draws(add, drawn, rows, None), drawn + rows)
    assert len(set(calls)) == 1  # a program
    assert max(draws * images for draws, images in calls) <= 256


@pytest.mark.parametrize(("n", "num", "calls"), [(1, 1000, 4), (64, 8, 2), (10, 256, 16), (3, 2, 1), (1, 1, 1)])
def test_many_draws_of_a_row_share_what_is_made_of_it(n, num, calls):
    shared = []

    def function(drawn, rows):
        shared.append(len(rows))
        return drawn

    batched_draws(function, np.zeros((n, num)), np.zeros(num))
    assert len(shared) == calls
    assert sum(shared) < (0.3 * n * num if n > 1 and n * num > 16 else 1.1 * n * num)
