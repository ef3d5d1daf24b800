"""Reconstruction at equal rate: two models compared on the whole curve that a sweep over β gives (claim C11).

A model that weighs the KL divergence less reconstructs better at a higher rate, on the same curve. Only a curve that
lies below the other one is an improvement.
"""

import numpy as np

_LEAST_SHARED = 0.1  # of the shorter curve's range of rates; on less, the comparison speaks of a few points


def frontier(rate, distortion):
    """Returns the points of a sweep that no other point beats: of lower rate with no more distortion.

    Training is noisy, and a sweep need not be monotone. A dominated point says nothing of what the model can reach at
    that rate, because the one that dominates it does not need as much. The lower convex hull would drop more: it
    supposes that a mixture of two models counts as a model, and its chords bend where distortion is on a log scale.

    **Arguments:** `rate`: KL, nats; `distortion`: positive; float [n]. Points that are not finite are left out.
    **Returns:** (rate, distortion), [m ≤ n]: rates strictly increasing, distortions strictly decreasing.
    """
    rate, distortion = np.asarray(rate, float), np.asarray(distortion, float)
    known = np.isfinite(rate) & np.isfinite(distortion) & (distortion > 0)
    rate, distortion = rate[known], distortion[known]
    order = np.lexsort((distortion, rate))
    rate, distortion = rate[order], distortion[order]
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], distortion[:-1]])) if len(rate) else distortion
    beaten = distortion >= best_before
    return rate[~beaten], distortion[~beaten]


def difference_at_equal_rate(a, b):
    """By how much less or more curve `a` distorts than curve `b`, the mean over the rates that both reach.

    log distortion is interpolated over the rate without overshooting (PCHIP); the area between both curves, divided
    by the range of rates, is the mean log ratio.

    **Arguments:** `a`, `b`: (rate, distortion), float [n] each.
    **Returns:** per cent of `b`'s distortion, negative where `a` is better; NaN where a curve has fewer than two points
    on its `frontier`, or where both share less than a tenth of the shorter one's range.
    """
    a, b = frontier(*a), frontier(*b)
    if min(len(a[0]), len(b[0])) < 2:
        return np.nan
    low, high = max(a[0][0], b[0][0]), min(a[0][-1], b[0][-1])
    if high - low < _LEAST_SHARED * min(np.ptp(a[0]), np.ptp(b[0])):
        return np.nan
    return 100.0 * np.expm1((_area(*a, low, high) - _area(*b, low, high)) / (high - low))


def _area(rate, distortion, low, high):
    """Below log distortion, from rate `low` to rate `high`."""
    from scipy.interpolate import PchipInterpolator

    return float(PchipInterpolator(rate, np.log(distortion)).integrate(low, high))
