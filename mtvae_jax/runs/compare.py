"""Runs side by side: the settings in which they differ, and what came of them."""

import dataclasses
import math
import re

from mtvae_jax.runs.rows import as_csv, as_json, row
from mtvae_jax.runs.run import is_number
from mtvae_jax.runs.words import figure, printable

# By the last part of a metric's name; what is in neither has no better end, like the KL divergence.
_LOWER_IS_BETTER = ("loss", "reconstruction", "bits_per_dim", "nats", "frechet_distance", "mse", "crps")
_HIGHER_IS_BETTER = ("psnr", "ssim", "bound", "precision", "recall")
_FINGERPRINTS = ("parameters_sha256", "prior_parameters_sha256")
_RUN_FIELDS = ("state", "epoch", "best_epoch", "second_stage", "parameters", *_FINGERPRINTS, "device")
_DIGITS = 12  # of a fingerprint: enough to see at a glance


@dataclasses.dataclass(frozen=True)
class Line:
    """**name**: of a field or metric; **values**: one a run, None where it has none; **best**: which of them are."""

    name: str
    values: tuple
    best: frozenset = frozenset()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """**names**: of the runs; **settings**, **measured**: `Line`s; **notes**: what to bear in mind, in sentences."""

    names: tuple
    settings: tuple
    measured: tuple
    notes: tuple


def compare(runs):
    """Compares `Run`s and returns a `Comparison`."""
    settings = [*_lines([run.config for run in runs]), *_lines([run.about for run in runs])]
    settings = [x for x in settings if x.name != "device" and any(value != x.values[0] for value in x.values)]
    differing = {line.name for line in settings}
    rows = [{name: value[:_DIGITS] if name in _FINGERPRINTS and isinstance(value, str) else value
             for name, value in row(run).items()} for run in runs]
    measured = [line for line in _lines(rows, _RUN_FIELDS) if any(value is not None for value in line.values)]
    metrics = _lines([run.metrics for run in runs])
    # Validation, test, second stage, judge; within each in the order of the first run that has them
    metrics.sort(key=lambda line: ("val", "test", "prior", "generation").index(line.name.split("/")[0]))
    measured += [dataclasses.replace(line, best=_best(line, differing)) for line in metrics]
    notes = [f"{run.name} is damaged: {run.problem}" for run in runs if run.problem]
    notes += [f"{run.name} is not complete: its figures are those of its best epoch so far" for run in runs
              if not run.problem and run.model.state != "complete"]
    if "data.fingerprint" in differing:
        notes.append("these runs are of different images: no figure is marked as best")
    elif not _alike("val/loss", differing) and any(line.name.endswith("/loss") for line in measured):
        notes.append("a loss of other terms or weights is another quantity: none is marked as best")
    return Comparison(tuple(run.name for run in runs), tuple(settings), tuple(measured), tuple(notes))


def to_json(comparison):
    """Returns JSON.

    {"runs": […], "settings": {field: […]}, "results": {name: {"values": […], "best": [indices]}}, "notes": […]}
    """
    return as_json({
        "runs": comparison.names,
        "settings": {line.name: line.values for line in comparison.settings},
        "results": {line.name: {"values": line.values, "best": sorted(line.best)} for line in comparison.measured},
        "notes": comparison.notes,
    })


def to_csv(comparison):
    """Returns CSV, a line a field or metric, a column a run."""
    lines = (*comparison.settings, *comparison.measured)
    return as_csv([["", *comparison.names], *([line.name, *line.values] for line in lines)])


def to_markdown(comparison):
    """Returns a Markdown table, the best of a line in bold."""
    cells = [["", *map(_escaped, comparison.names)], ["---"] * (1 + len(comparison.names))]
    for line in (*comparison.settings, *comparison.measured):
        values = [_escaped(figure(value)) for value in line.values]
        cells.append([_escaped(line.name), *(f"**{v}**" if i in line.best else v for i, v in enumerate(values))])
    table = ["|" + "|".join(line) + "|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([*table, "", *comparison.notes]).rstrip() + "\n"


def _lines(dicts, names=None):
    """A `Line` for each name, by default for all that some have."""
    names = names or dict.fromkeys(name for values in dicts for name in values)
    return [Line(name, tuple(values.get(name) for values in dicts)) for name in names]


def _escaped(text):
    return re.sub(r"([|\\*_<`])", r"\\\1", printable(text))


def _best(line, differing):
    """The indices of the best values, none where there is nothing to choose between or no better end."""
    numbers = {i: value for i, value in enumerate(line.values) if is_number(value) and math.isfinite(value)}
    metric = line.name.rsplit("/", 1)[-1]
    lower, higher = metric.startswith(_LOWER_IS_BETTER), metric.startswith(_HIGHER_IS_BETTER)
    if "training_images" in line.name or not (lower or higher) or not _alike(line.name, differing):
        return frozenset()
    if len(set(numbers.values())) < 2:
        return frozenset()
    best = (min if lower else max)(numbers.values())
    return frozenset(i for i, value in numbers.items() if value == best)


def _alike(name, differing):
    """Whether a metric is the same quantity in all runs."""
    metric = name.rsplit("/", 1)[-1]
    if "data.fingerprint" in differing:
        return False
    if name.startswith("prior/") and metric.startswith(("loss", "nats")):  # of the codes of one model
        return all(field.startswith(("prior.", "generation.", "versions.")) for field in differing)
    if metric == "loss":
        return not any(field.startswith(("loss.", "model.latent", "model.method")) for field in differing)
    return True
