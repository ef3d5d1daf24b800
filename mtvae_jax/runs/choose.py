"""Which runs, in which order: `--where` and `--sort`."""

import dataclasses
import difflib
import math
import operator
import re

from mtvae_jax.errors import UserError
from mtvae_jax.runs.files import is_number

_CONDITION = re.compile(r"\s*([^=<>!~]+?)\s*(<=|>=|!=|==|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_ORDERS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
_UNITS = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@dataclasses.dataclass(frozen=True)
class Condition:
    """**field**; **relation**: = != < <= > >= or ~, contains; **value**: as text."""

    field: str
    relation: str
    value: str

    def holds(self, row):
        """**Raises:** `UserError` where a number is to be compared with a word."""
        found = row.get(self.field)
        if self.relation == "~":
            return found is not None and self.value.lower() in as_text(found).lower()
        if self.relation in ("=", "!="):
            return self._equals(found) == (self.relation == "=")
        if found is None:
            return False
        order = _ORDERS[self.relation]
        if not is_number(found):
            return order(as_text(found), self.value)
        number = _number(self.value)
        if number is None:
            raise UserError(f"--where={self.field}{self.relation}{self.value}: {self.value!r} is not a number")
        return order(found, number)

    def _equals(self, found):
        number = _number(self.value)
        if is_number(found) and number is not None:
            return found == number or (math.isnan(found) and math.isnan(number))
        return as_text(found).lower() == self.value.lower()


def parse_condition(text):
    """**Raises:** `UserError`."""
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise UserError(f"--where={text}: is not a condition; write FIELD=VALUE, or !=, <, <=, >, >= or ~ (contains)")
    field, relation, value = parts.groups()
    if field == "touched":
        value = re.sub(r"(\d) (\d)", r"\1T\2", value)  # as the list shows it, and as the field has it
    return Condition(field, "=" if relation == "==" else relation, value)


def choose(rows, conditions):
    """The rows for which every condition holds. **Raises:** `UserError` for a field that no run has."""
    for condition in conditions:
        check_field(condition.field, rows, "--where")
    return [row for row in rows if all(condition.holds(row) for condition in conditions)]


def sort(rows, field):
    """By a field, or by "-field" the other way round; rows without a value come last either way, and keep their order.

    **Raises:** `UserError` for a field that no run has.
    """
    descending, field = field.startswith("-"), field.removeprefix("-")
    check_field(field, rows, "--sort")
    known = [row for row in rows if not _unknown(row.get(field))]
    known.sort(key=lambda row: _order(row[field]), reverse=descending)
    return known + [row for row in rows if _unknown(row.get(field))]


def check_field(field, rows, option):
    """**Raises:** `UserError` if there are runs and none has the field."""
    names = dict.fromkeys(name for row in rows for name in row)
    if not names or field in names or field in ("problem", "second_stage", "second_stage_epoch"):
        return
    same_end = [name for name in names if re.split(r"[./]", name)[-1] == field]
    near = same_end or difflib.get_close_matches(field, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--csv shows all fields in its first line"
    raise UserError(f"{option}: no run has a field {field}; {hint}")


def as_text(value):
    """As one would write it on the command line: (32, 64) is 32,64."""
    return ",".join(map(as_text, value)) if isinstance(value, (list, tuple)) else str(value)


def _unknown(value):
    return value is None or (is_number(value) and math.isnan(value))


def _order(value):
    return (0, value, "") if is_number(value) else (1, 0, as_text(value))


def _number(text):
    number, unit = re.fullmatch(r"(.*?)\s*([kKMGT]?B)?", text, re.DOTALL).groups()
    try:
        return float(number) * _UNITS[unit or "B"]
    except ValueError:
        return None
