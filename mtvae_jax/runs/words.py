"""Amounts, times and figures in words."""

from mtvae_jax.errors import number_of
from mtvae_jax.runs.rows import as_text


def amount(num_bytes):
    """Writes bytes: 4200000 as "4.2 MB"."""
    return _scaled(num_bytes, (" B", " kB", " MB", " GB", " TB"))


def count(number):
    """Writes a number: 5305058 as "5.31M"."""
    return _scaled(number, ("", "k", "M", "G"))


def span(seconds):
    """Writes seconds: 90 as "2 minutes"."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return number_of(round(seconds / length), unit)
    return number_of(max(0, round(seconds)), "second")


def figure(value):
    """Writes a figure in four digits, an integer in full, anything else as text; "–" for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def printable(text):
    """Returns the text in one line that no terminal takes for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _scaled(number, units):
    for unit in units[:-1]:
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}{units[-1]}"
