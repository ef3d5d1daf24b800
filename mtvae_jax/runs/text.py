"""Values, names and tables as text."""

import csv
import datetime
import io
import json
import math
import re
import unicodedata

from mtvae_jax.errors import number_of
from mtvae_jax.runs.choose import as_text
from mtvae_jax.runs.files import is_number

_TAIL = 9  # of a name that is cut in the middle: its hash


def amount(num_bytes):
    """4200000 as "4.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def count(number):
    """5305058 as "5.31M"."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"


def moment(seconds):
    """UTC to the minute, as `--where=touched>…` compares it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def span(seconds):
    """90 as "2 minutes"."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return number_of(round(seconds / length), unit)
    return number_of(max(0, round(seconds)), "second")


def figure(value):
    """A figure in four digits, an integer in full, anything else as text; "–" for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def printable(text):
    """The text in one line that no terminal takes for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def width(text):
    """Columns on a terminal: wide characters take two, accents none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text, columns):
    """The text without its end, where it does not fit."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…" if columns > 0 else ""


def cut_middle(text, columns):
    """The text without its middle: the end of a run's name is its hash."""
    if width(text) <= columns or columns <= _TAIL + 2:
        return cut(text, columns)
    tail = text[-_TAIL:]
    return cut(text, columns - width(tail)) + tail


def pad(text, columns, right=False):
    space = " " * (columns - width(text))
    return space + text if right else text + space


def as_csv(lines):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_cell(value) for value in line] for line in lines)
    return file.getvalue()


def as_json(values):
    """Strict JSON; what is not finite is a string, as in metrics.jsonl."""
    return json.dumps(_strict(values), indent=2, allow_nan=False) + "\n"


def as_markdown(lines):
    """A table; the first line is its head."""
    cells = [[re.sub(r"([|\\*_<`])", r"\\\1", printable(text)) for text in line] for line in lines]
    head, *rest = ["| " + " | ".join(line) + " |\n" for line in cells]
    return head + "|" + "---|" * len(lines[0]) + "\n" + "".join(rest)


def _cell(value):
    return "" if value is None else value if is_number(value) else as_text(value)


def _strict(value):
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
