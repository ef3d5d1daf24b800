"""What was measured and by which rule it is judged, in words."""

import math

from mtvae_jax.errors import number_of
from mtvae_jax.study.claims import KL, METRICS

LEAST_TREND = 3  # values of a factor; a trend over two is a comparison, a curve through two a straight line
_AXES = {"beta": "β", "exponent": "exponent", "depth": "depth"}


def reason(part, planned, complete, known, least):
    """Returns why a part is undecided. **Arguments:** numbers of pairs; `least`: that an interval takes."""
    if planned == 0:
        return "the study has no such runs"
    if known < least:
        what = "sweep" if part.along is not None else "pair"
        said = f"{complete} of {number_of(planned, what)} {'is' if complete == 1 else 'are'} complete"
        if known < complete:
            said += f", {known} of which {'has' if known == 1 else 'have'} finite figures"
            said += " on a common range of rates" if part.along and part.b else ""
        return f"{said}; an interval takes {least}"
    return "the interval reaches beyond one end of what is asked, or both"


def sentence(part, effect, low, high, level, pairs):
    """Returns what was measured, in words: "The KL divergence of A is 4.2 % lower than that of B (95 % interval 3.1 to
    5.3 % lower, 5 pairs)".
    """
    metric = METRICS[part.metric].words
    if effect is None:
        return f"Nothing has been measured of the {metric} of {part.a.label} to compare."
    places = _places(max(0.0 if low is None else (high - low) / 2, abs(effect) / 10))
    change, same = f"{_size(effect, places)} {part.unit} {_direction(effect)}", effect == low == high == 0
    if part.b is None:
        change = "stays the same" if same else f"becomes {change}"
        said = f"From the lowest to the highest {_AXES[part.along]}, the {metric} of {part.a.label} {change}"
    else:
        other = f"its {METRICS[part.metric_b].words}" if part.a == part.b else f"that of {part.b.label}"
        start = f"At equal {METRICS[KL].words}, the" if part.along else "The"
        said = f"{start} {metric} of {part.a.label} is {'as high as' if same else f'{change} than'} {other}"
    if same:
        return f"{said} in all of {number_of(pairs, 'pair')}."
    if low is None:
        return f"{said} ({number_of(pairs, 'pair')}, without an interval)."
    near, far = sorted((low, high), key=abs)
    between = f"{_size(near, places)} to {_size(far, places)} {part.unit} {_direction(far)}"
    if low * high < 0:
        between = f"{_size(low, places)} {part.unit} lower to {_size(high, places)} {part.unit} higher"
    return f"{said} ({100 * level:.0f} % interval: {between}; {number_of(pairs, 'pair')})."


def _direction(value):
    return "higher" if value > 0 else "lower"


def _size(value, places):
    return f"{abs(value):,.{places}f}"


def _places(size):
    """Decimal places that show two digits of `size`."""
    return min(max(1 - math.floor(math.log10(size)), 0), 5) if size > 0 else 2
