"""Settings as data: default, rule, meaning and the version that brought it; config trees and messages from a table.

A table is a dict of dotted name → `Setting`, such as `mtvae_jax.config.SETTINGS`.
"""

import difflib
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtvae_jax.errors import UserError

FIRST = "0.1.0"
_MOST = 2**31 - 1  # counts are 32 bits on the devices


class Rule(NamedTuple):
    """**test**: of a value, whether it is allowed; **text**: what is allowed, for messages; **type**: of the values."""

    test: Callable[[Any], bool]
    text: str
    type: type


class Setting(NamedTuple):
    """**default**: None for a value that is worked out or that there need not be; **rule**; **meaning**: a noun phrase
    with its unit; **since**: the version that brought it; **names_run**: whether another value makes another run,
    or the (name, value) of the setting with which it does; **only_with**: (name, value) of the setting without which
    this one has no effect, and so does not count either."""

    default: Any
    rule: Rule
    meaning: str
    since: str = FIRST
    names_run: bool | tuple[str, Any] = True
    only_with: tuple[str, Any] | None = None


# --------------------------------------------------------------------------------------------------------------- rules


def one_of(values):
    """Accepts the values themselves, or the names of a table, and of their type alone: 1 == True to Python."""
    kind = type(next(iter(values)))
    return Rule(lambda v: isinstance(v, kind) and v in values, listed(values), kind)


def switch():
    return one_of((True, False))


def text(meaning):
    """Accepts any text but none."""
    return Rule(lambda v: isinstance(v, str) and v.strip() != "", meaning, str)


def number(meaning, test):
    """Accepts numbers that pass `test` both as they are written and as float32, where 1e-50 is not above 0."""

    def allowed(value):
        return math.isfinite(as_float32(value)) and test(value) and test(as_float32(value))

    return Rule(
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and allowed(v), meaning, float
    )


def integer(low, high=None):
    """Accepts integers of at least `low`, and at most `high` or what 32 bits hold."""
    most = _MOST if high is None else high
    meaning = f"an integer of at least {low}" if high is None else f"an integer in {low} … {high}"
    return Rule(lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= most, meaning, int)


def odd(high):
    """Accepts odd integers in 1 … `high`."""
    within = integer(1, high)
    return Rule(lambda v: within.test(v) and v % 2 == 1, f"an odd integer in 1 … {high}", int)


def optional(rule):
    """Accepts None too."""
    return Rule(lambda v: v is None or rule.test(v), f"{rule.text}, or None", rule.type)


def tuple_of(rule, meaning, least=1, most=16):
    """Accepts `least` to `most` values that `rule` accepts."""
    return Rule(
        lambda v: isinstance(v, (tuple, list)) and least <= len(v) <= most and all(map(rule.test, v)), meaning, tuple
    )


POSITIVE = number("a number above 0", lambda v: v > 0)
NOT_NEGATIVE = number("a number of at least 0", lambda v: v >= 0)
SHARE = number("a number above 0 and below 1", lambda v: 0 < v < 1)
FRACTION = number("a number of at least 0 and below 1", lambda v: 0 <= v < 1)


def listed(values):
    """Returns the values as a sentence has them: "'a', 'b' or 'c'"."""
    *most, last = [repr(v) if isinstance(v, str) else str(v) for v in values]
    return f"{', '.join(most)} or {last}" if most else last


def as_float32(value):
    """Returns a number as it is in float32: infinite or 0 where that has none so large or so small."""
    try:
        with np.errstate(over="ignore", under="ignore"):
            rounded = float(np.float32(value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return 0.0 if abs(rounded) < np.finfo(np.float32).tiny else rounded


# ------------------------------------------------------------------------------------------------------- config trees


def config_of(table, values=None):
    """Returns a type-safe `ConfigDict` of a table's settings, at their defaults but for `values`, {dotted name: value}.
    """
    values = {name: setting.default for name, setting in table.items()} | (values or {})
    tree = {}
    for name, value in values.items():
        *sections, field = name.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = placeholder(table[name].rule.type) if value is None else value
    return ConfigDict(tree)


def field_names(config):
    """Returns the dotted names of all fields: "train.epochs", …"""
    return [
        name
        for key, value in config.items(preserve_field_references=False)
        for name in ([f"{key}.{sub}" for sub in field_names(value)] if isinstance(value, ConfigDict) else [key])
    ]


def flat(values, prefix=""):
    """Turns {"train": {"epochs": 3}} into {"train.epochs": 3}."""
    result = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def set_fields(config, values, table):
    """Gives fields of a table's `ConfigDict` other values, {dotted name: value}; of a field of several values one value
    stands for a tuple of one.

    **Raises:** `UserError` for a field that does not exist, or a value that it may not have.
    """
    for name, value in values.items():
        if name not in table:
            raise unknown_field(name, table)
        rule, (*sections, field) = table[name].rule, name.split(".")
        if rule.type is tuple and value is not None:
            value = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        _check_value(name, value, rule)
        place = functools.reduce(lambda tree, section: tree[section], sections, config)
        place[field] = value


# ------------------------------------------------------------------------------------------------- checks and messages


def check_fields(config, table):
    """Refuses fields that the table does not have, fields that are missing, and values out of range.

    **Raises:** `UserError`, one line that names the field and what it may be.
    """
    sections = {name.rpartition(".")[0] for name in table} - {""}
    for name in field_names(config):
        if name in sections:
            raise UserError(f"config.{name} = {config[name]!r}: must be a section with fields of its own")
        if name not in table:
            raise unknown_field(name, table)
    for name, setting in table.items():
        _check_value(name, _value(config, name), setting.rule)


def unknown_field(name, table):
    """Returns the error for a field that does not exist, with the nearest one that does."""
    near, section = nearest_field(name, table), name.rpartition(".")[0]
    inside = [field for field in table if section and field.startswith(f"{section}.")]
    those = f"those of config.{section} are {', '.join(inside)}" if inside else f"the fields are {', '.join(table)}"
    return UserError(f"config.{name}: there is no such field; {f'did you mean config.{near}?' if near else those}")


def nearest_field(name, table):
    """Returns the field of a table that somebody means who writes `name`, with a section or without: one called so in
    another section, or abbreviated so (train.lr), or spelt nearly so; None where there is none.
    """
    section, _, wanted = name.rpartition(".")
    fields = {field: field.rpartition(".")[2] for field in table}
    # Of fields that both stages have the model's first
    order = sorted(fields, key=lambda field: (not field.startswith(f"{section}."), not field.startswith("train.")))
    close = difflib.get_close_matches(wanted, fields.values(), n=1, cutoff=0.7)
    for meant in (
        lambda last: last == wanted,
        lambda last: "_" in last and "".join(word[0] for word in last.split("_")) == wanted,
        lambda last: last in wanted.split(".") or f"_{last}" in wanted,
        lambda last: last in close,
    ):
        for field in order:
            if meant(fields[field]):
                return field
    return None


def shortened(text):
    return text if len(text) <= 100 else f"{text[:100]}…"


def _value(config, name):
    for part in name.split("."):
        if part not in config:
            raise UserError(f"config.{name}: is missing")
        config = config[part]
    return config


def _check_value(name, value, rule):
    if rule.test(value):
        return
    choices = [choice.strip("' ") for choice in rule.text.replace(" or", ",").split(",")]
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"config.{name} = {shortened(repr(value))}: {_as_seen(value, rule)}must be {rule.text}{hint}"
    )


def _as_seen(value, rule):
    """What a number is on the devices, where that is why it is refused."""
    if isinstance(value, int) and rule.type is int:
        return "is too large, " if value > _MOST and "…" not in rule.text else ""
    if not isinstance(value, (int, float)) or value != value or value in (math.inf, -math.inf):
        return ""
    rounded = as_float32(value)
    return f"is {rounded:g} in float32, " if rounded != value and rounded in (0.0, 1.0, math.inf, -math.inf) else ""
