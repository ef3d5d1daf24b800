"""Pairs of runs until it is decided: intervals that hold at every look, and how many pairs a verdict would take.

Looking again after each pair and stopping at the first interval that decides errs more often than a single look. So
the error is spent over the looks (Lan and DeMets 1983), as a power of the share of all pairs that there are so far (Kim
and DeMets 1987). All intervals of a sequence together cover the mean with the stated level (Jennison and Turnbull
1989), whenever one stops and for whatever reason.
"""

import functools
import math

import numpy as np

MOST_PAIRS = 20
FIRST_LOOK = 3  # pairs; from there on a look after each
_POWER = 1.5  # of the spending: 1 spends evenly over the pairs, 3 nearly all at the end, as O'Brien and Fleming do
_SEQUENCES = 100_000  # leave 0.07 percentage points of chance in an error of 5 %


def repeated_intervals(effects, level):
    """Intervals of the mean of the first n effects, for every n with a look.

    **Arguments:** `effects`: float [..., n], in the order in which they were measured, of which the first 20 count;
    `level`: of all intervals together.
    **Returns:** (low, high): float [..., looks], for 3, 4, … n effects.
    """
    mean, error = _means(np.asarray(effects, float)[..., :MOST_PAIRS])
    half = critical_values(1.0 - level)[: mean.shape[-1]] * error
    return mean - half, mean + half


def pairs_for(mean, deviation, low, high, level, *, most=1000):
    """Returns how many pairs it would take for an interval inside or outside of (low, high), were mean and standard
    deviation of the effects to stay what they are; None for more than `most`. Beyond 20 pairs the last look's bound is
    kept.
    """
    from scipy.stats import t

    bounds = critical_values(1.0 - level)
    last = 2 * t.sf(bounds[-1], MOST_PAIRS - 1)
    room = min((abs(mean - end) for end in (low, high) if math.isfinite(end)), default=math.inf)
    for pairs in range(FIRST_LOOK, most + 1):
        bound = bounds[pairs - FIRST_LOOK] if pairs <= MOST_PAIRS else t.isf(last / 2, pairs - 1)
        if bound * deviation / math.sqrt(pairs) < room:
            return pairs
    return None


@functools.cache
def critical_values(error):
    """Returns the bound of |t| at each look, such that of sequences without an effect a share of `error` ever crosses
    one: float [looks].

    Found by simulation, because t statistics of few pairs are no Brownian motion: with that one's bounds at the same
    nominal levels 5.7 % cross instead of 5.
    """
    counts = np.arange(FIRST_LOOK, MOST_PAIRS + 1)
    crossed = np.rint(_SEQUENCES * error * (counts / MOST_PAIRS) ** _POWER).astype(int)
    statistics, bounds = _null_statistics(), []
    for look, new in enumerate(np.diff(crossed, prepend=0)):
        bounds.append(np.partition(statistics[:, look], -new)[-new])
        statistics = statistics[statistics[:, look] < bounds[-1]]
    return np.array(bounds)


@functools.cache
def _null_statistics():
    """|t| of sequences of normal effects around 0, at each look; a stream that NumPy has frozen."""
    mean, error = _means(np.random.RandomState(0).standard_normal((_SEQUENCES, MOST_PAIRS)))
    return np.abs(mean / error)


def _means(effects):
    """Mean of the first n effects and its standard error, for each n with a look: float [..., looks]."""
    counts = np.arange(1, effects.shape[-1] + 1)
    means = np.cumsum(effects, -1) / counts
    # Squares around the mean so far, which is exact also where effects are alike (Welford 1962)
    before = np.concatenate([np.zeros_like(means[..., :1]), means[..., :-1]], -1)
    squares = np.cumsum((effects - before) * (effects - means), -1)
    looks = slice(FIRST_LOOK - 1, None)
    variance = np.maximum(squares[..., looks], 0.0) / (counts[looks] - 1)
    return means[..., looks], np.sqrt(variance / counts[looks])
