"""Any number of images, and of draws for each, through programs of few sizes."""

import numpy as np

_SIZES = (1, 4, 16, 64, 256)  # a program each; the last is the most rows of a batch
# What is made of m once for all its draws, counted in draws: 2.5 of configs/pixels_gauss.py on a CPU core.
_SHARED = 2.5


def batched(function, *arrays):
    """Applies `function` to arrays [N, …], or None, in batches of few sizes; the rows that fill them up are cut off."""
    num = len(arrays[0])
    size = _at_least(num)
    batches = (_rows(_up_to(start, size, num), arrays) for start in range(0, num, size))
    return np.concatenate([np.asarray(function(*batch)) for batch in batches])[:num]


def batched_draws(function, drawn, *arrays):
    """Applies `function` to what is drawn of N rows, [n, N, …], and to arrays [N, …], or None, many draws of a row at
    once: what the function makes of the arrays it makes once for all of them.

    **Arguments:** `function`: of rows [S·B, …], those of the first draw first, and of arrays [B, …], to [S·B, …].
    **Returns:** [n, N, …].
    """
    n, num = drawn.shape[:2]
    draws = min(_SIZES, key=lambda size: -(-n // size) * (size + _SHARED))
    size = min(_at_least(num), _SIZES[-1] // draws)
    results = None
    for start in range(0, num, size):
        images = _up_to(start, size, num)
        seen = _rows(images, arrays)
        for first in range(0, n, draws):
            some = drawn[np.ix_(_up_to(first, draws, n), images)]
            result = np.asarray(function(some.reshape(-1, *some.shape[2:]), *seen))
            result = result.reshape(draws, size, *result.shape[1:])
            if results is None:
                results = np.empty((n, num, *result.shape[2:]), result.dtype)
            results[first : first + draws, start : start + size] = result[: n - first, : num - start]
    return results


def _at_least(num):
    return next((size for size in _SIZES if size >= num), _SIZES[-1])


def _up_to(start, size, num):
    """`size` places from `start` on; beyond the end the last one again."""
    return np.minimum(np.arange(start, start + size), num - 1)


def _rows(places, arrays):
    return [None if array is None else array[places] for array in arrays]
