"""Numbers as a reader wants them: as many digits as they are sure of, true minus signs, units a thin space away."""

import math

NOTHING = "–"
_SPACE = "\u00a0"  # no line break
_UNIT_SPACE = "\u202f"  # narrow, no line break
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value, digits=3):
    """Returns a number with `digits` significant digits; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if exponent < -4:
        return _minus(f"{value / 10.0**exponent:.{digits - 1}f} × 10") + str(exponent).translate(_SUPERSCRIPTS)
    return _minus(f"{value:,.{max(0, digits - 1 - exponent)}f}")


def count(value):
    return f"{value:,}"


def with_unit(text, unit):
    return f"{text}{_UNIT_SPACE}{unit}" if unit else text


def effect(value, low, high, unit):
    """Returns a difference with its interval: "−4.23 % [−5.12, −3.35]"."""
    return " ".join(effect_cells(value, low, high, unit)).removesuffix(f" {NOTHING}")


def effect_cells(value, low, high, unit):
    """Both apart, to two digits of the interval's half width; a dash for what is None."""
    if value is None:
        return NOTHING, NOTHING
    if low is None or high is None:
        return with_unit(signed(value, _decimals(abs(value) / 10)), unit), NOTHING
    places = _places(low, high)
    return with_unit(signed(value, places), unit), f"[{signed(low, places)},{_SPACE}{signed(high, places)}]"


def mean(value, low, high):
    """Returns a level with the half width of its interval: "0.0132 ± 0.0004", to two digits of the latter."""
    if value is None or math.isnan(value):
        return NOTHING
    if low is None or not math.isfinite(high - low):
        return number(value)
    half = (high - low) / 2
    if half <= abs(value) * 1e-6:
        return number(value)
    places = _decimals(half)
    return f"{_minus(f'{value:,.{places}f}')} ± {half:,.{places}f}"


def signed(value, places):
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:+,.{places}f}"
    return _minus(text if float(text.replace(",", "")) else text[1:])


def duration(hours):
    """Returns "3 h 20 min", "12 min", "40 s"."""
    seconds = round(hours * 3600)
    if seconds < 60:
        return with_unit(str(seconds), "s")
    minutes = round(seconds / 60)
    if minutes < 60:
        return with_unit(str(minutes), "min")
    text = with_unit(count(minutes // 60), "h")
    return f"{text} {with_unit(str(minutes % 60), 'min')}" if minutes % 60 and minutes < 6000 else text


def listed(items):
    """Returns "a", "a and b", "a, b and c"."""
    items = [str(item) for item in items]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def _places(low, high):
    """Decimal places that show two digits of the half width, but no more than four digits of the ends."""
    largest = max(abs(low), abs(high))
    return min(_decimals((high - low) / 2), _decimals(largest / 100)) if largest else 2


def _decimals(size):
    """Decimal places that show two digits of `size`, at most 5."""
    return min(max(1 - math.floor(math.log10(size)), 0), 5) if size > 0 and math.isfinite(size) else 2


def _minus(text):
    return text.replace("-", "−")
