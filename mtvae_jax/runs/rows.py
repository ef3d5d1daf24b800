"""A run as one flat row: the fields to choose by (`--where`), to sort by (`--sort`), and to hand to other programs."""

import csv
import dataclasses
import datetime
import difflib
import io
import json
import math
import operator
import re

from mtvae_jax.errors import UserError
from mtvae_jax.runs.run import DAMAGED, is_number

_CONDITION = re.compile(r"\s*([^=<>!~]+?)\s*(<=|>=|!=|==|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_ORDERS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
_UNITS = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
# The fields that --csv begins with
_FIRST = ("name", "path", "state", "problem", "epoch", "epochs", "best_epoch", "second_stage", "second_stage_epoch",
          "parameters", "parameters_sha256", "prior_parameters_sha256", "size", "touched")


@dataclasses.dataclass(frozen=True)
class Condition:
    """**field**; **relation**: = != < <= > >= or ~, contains; **value**: as text."""

    field: str
    relation: str
    value: str

    def holds(self, row):
        """Tells whether it holds for a row. **Raises:** `UserError` where a number is to be compared with a word."""
        found, number = row.get(self.field), _number(self.value)
        if self.relation == "~":
            return found is not None and self.value.lower() in as_text(found).lower()
        if self.relation in ("=", "!="):
            if is_number(found) and number is not None:
                equal = found == number or (math.isnan(found) and math.isnan(number))
            else:
                equal = as_text(found).lower() == self.value.lower()
            return equal == (self.relation == "=")
        if found is None:
            return False
        if not is_number(found):
            return _ORDERS[self.relation](as_text(found), self.value)
        if number is None:
            raise UserError(f"--where={self.field}{self.relation}{self.value}: {self.value!r} is not a number")
        return _ORDERS[self.relation](found, number)


def row(run):
    """Returns a run as one flat row: {"name": …, "state": …, "val/loss": …, "prior/test/nats": …, "train.epochs": …},
    metrics with a slash, fields of its config with a dot; what is not known is not there.
    """
    model, prior = run.model, run.prior
    parameters = model.summary.get("parameters") if model else None
    values = {
        "name": run.name,
        "path": str(run.path),
        "state": run.state,
        "problem": run.problem,
        "epoch": model and model.epoch,
        "epochs": model and model.epochs,
        "best_epoch": model and model.best_epoch,
        "second_stage": run.prior_state if run.state != DAMAGED else None,
        "second_stage_epoch": prior and prior.epoch,
        "parameters": parameters.get("total") if isinstance(parameters, dict) else None,
        "parameters_sha256": model and model.summary.get("parameters_sha256"),
        "prior_parameters_sha256": prior and prior.summary.get("parameters_sha256"),
        "size": run.size,
        "touched": datetime.datetime.fromtimestamp(int(run.touched), datetime.UTC).isoformat(),
    }
    return {name: value for name, value in values.items() if value is not None} | run.metrics | run.about | run.config


def parse_condition(text):
    """Reads FIELD, a relation and a value and returns a `Condition`. **Raises:** `UserError`."""
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise UserError(f"--where={text}: is not a condition; write FIELD=VALUE, or !=, <, <=, >, >= or ~ (contains)")
    field, relation, value = parts.groups()
    if field == "touched":
        value = re.sub(r"(\d) (\d)", r"\1T\2", value)  # as the list shows it, and as the field has it
    return Condition(field, "=" if relation == "==" else relation, value)


def choose(rows, conditions):
    """Returns the rows for which every condition holds. **Raises:** `UserError` for a field that no run has."""
    for condition in conditions:
        check_field(condition.field, rows, "--where")
    return [row for row in rows if all(condition.holds(row) for condition in conditions)]


def sort(rows, field):
    """Sorts rows by a field, or by "-field" the other way round; those without a value stay in order at the end."""
    descending, field = field.startswith("-"), field.removeprefix("-")
    known, unknown = [], []
    for row in rows:  # nan, too, is unknown
        (unknown if row.get(field) is None or row[field] != row[field] else known).append(row)
    known.sort(key=lambda row: (0, row[field]) if is_number(row[field]) else (1, as_text(row[field])),
               reverse=descending)
    return known + unknown


def check_field(field, rows, option):
    """Refuses a field that no run has. **Raises:** `UserError` if there are runs."""
    names = dict.fromkeys(name for row in rows for name in row)
    if not names or field in names or field in ("problem", "second_stage", "second_stage_epoch"):
        return
    same_end = [name for name in names if re.split(r"[./]", name)[-1] == field]
    near = same_end or difflib.get_close_matches(field, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--csv shows all fields in its first line"
    raise UserError(f"{option}: no run has a field {field}; {hint}")


def fields(rows):
    """Returns all fields of some rows: those of the run, the metrics, then the config."""
    names = dict.fromkeys(name for row in rows for name in row)
    first = [name for name in _FIRST if name in names]
    rest = [name for name in names if name not in first]
    return first + sorted(rest, key=lambda name: ("/" not in name, name.startswith(("data.f", "data.p", "versions"))))


def as_text(value):
    """Writes a value as on the command line: (32, 64) is 32,64."""
    return ",".join(map(as_text, value)) if isinstance(value, (list, tuple)) else str(value)


def as_csv(lines):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(
        ["" if value is None else value if is_number(value) else as_text(value) for value in line] for line in lines
    )
    return file.getvalue()


def as_json(values):
    """Returns strict JSON; what is not finite is a string, as in metrics.jsonl."""
    return json.dumps(_strict(values), indent=2, allow_nan=False) + "\n"


def _number(text):
    number, unit = re.fullmatch(r"(.*?)\s*([kKMGT]?B)?", text, re.DOTALL).groups()
    try:
        return float(number) * _UNITS[unit or "B"]
    except ValueError:
        return None


def _strict(value):
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
