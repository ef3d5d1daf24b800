"""Runs side by side: the settings in which they differ, and what came of them."""

import dataclasses
import math

from mtvae_jax.runs.files import is_number
from mtvae_jax.runs.row import metrics, row
from mtvae_jax.runs.text import as_csv, as_json, as_markdown, cut, cut_middle, figure, pad, printable, width

# By the last part of a metric's name; what is in neither has no better end, like the KL divergence.
_LOWER_IS_BETTER = ("loss", "reconstruction", "bits_per_dim", "nats", "frechet_distance", "mse", "crps")
_HIGHER_IS_BETTER = ("psnr", "ssim", "bound", "precision", "recall")
_FINGERPRINTS = ("parameters_sha256", "prior_parameters_sha256")
_RUN_FIELDS = ("state", "epoch", "best_epoch", "second_stage", "parameters", *_FINGERPRINTS, "device")
_DIGITS = 12  # of a fingerprint: enough to see at a glance
_LEAST_NAME = 12


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
    """**Arguments:** `runs`: `Run`s. **Returns:** `Comparison`."""
    rows, figures = [row(run) for run in runs], [metrics(run) for run in runs]
    about = [name for name in _names(run.about for run in runs) if name != "device"]
    settings = [Line(name, tuple(run.config.get(name) for run in runs)) for name in _names(r.config for r in runs)]
    settings += [Line(name, tuple(run.about.get(name) for run in runs)) for name in about]
    settings = tuple(line for line in settings if any(value != line.values[0] for value in line.values))
    differing = {line.name for line in settings}
    measured = [Line(name, tuple(_short(name, values.get(name)) for values in rows)) for name in _RUN_FIELDS]
    measured = [line for line in measured if any(value is not None for value in line.values)]
    for name in _grouped(_names(figures)):
        values = tuple(values.get(name) for values in figures)
        measured.append(Line(name, values, _best(name, values, differing)))
    notes = [f"{run.name} is damaged: {run.problem}" for run in runs if run.problem]
    notes += [f"{run.name} is not complete: its figures are those of its best epoch so far" for run in runs
              if not run.problem and run.model.state != "complete"]
    if "data.fingerprint" in differing:
        notes.append("these runs are of different images: no figure is marked as best")
    elif not _alike("val/loss", differing) and any(line.name.endswith("/loss") for line in measured):
        notes.append("a loss of other terms or weights is another quantity: none is marked as best")
    return Comparison(tuple(run.name for run in runs), settings, tuple(measured), tuple(notes))


def _short(name, value):
    return value[:_DIGITS] if name in _FINGERPRINTS and isinstance(value, str) else value


def to_text(comparison, terminal=None):
    """**Arguments:** `terminal`: its columns, None for no limit; runs that do not fit beside the others follow below.
    """
    sections = {"settings that differ": comparison.settings, "results": comparison.measured}
    names = [printable(name) for name in comparison.names]
    columns = [[_marked(line, i) for section in sections.values() for line in section] for i in range(len(names))]
    label = max((width(line.name) for section in sections.values() for line in section), default=0)
    label = max(label, *map(width, sections))
    widths = [max(map(width, [name, *cells])) for name, cells in zip(names, columns, strict=True)]
    if terminal is not None:
        shorter = (terminal - label) // len(names) - 2
        widths = [max(min(w, max(shorter, _LEAST_NAME)), *map(width, cells or [""]))
                  for w, cells in zip(widths, columns, strict=True)]
    blocks = _blocks(widths, label, terminal)
    text = []
    for block in blocks:
        line = "  ".join([pad("", label), *(pad(cut_middle(names[i], widths[i]), widths[i], True) for i in block)])
        text.append(line)
        number = 0
        for title, section in sections.items():
            text.append(title if section else "")
            for line in section:
                cells = (pad(columns[i][number], widths[i], True) for i in block)
                text.append("  ".join([pad(printable(line.name), label), *cells]))
                number += 1
        text.append("")
    if not comparison.settings:
        text.append("their settings are the same")
    if any(line.best for line in comparison.measured):
        text.append("* the best of its line")
    text += [printable(note) for note in comparison.notes]
    return "".join(f"{line if terminal is None else cut(line, terminal)}\n" for line in map(str.rstrip, text))


def to_json(comparison):
    """{"runs": […], "settings": {field: […]}, "results": {name: {"values": […], "best": [indices]}}, "notes": […]}"""
    return as_json({
        "runs": comparison.names,
        "settings": {line.name: line.values for line in comparison.settings},
        "results": {line.name: {"values": line.values, "best": sorted(line.best)} for line in comparison.measured},
        "notes": comparison.notes,
    })


def to_csv(comparison):
    """A line a field or metric, a column a run."""
    lines = (*comparison.settings, *comparison.measured)
    return as_csv([["", *comparison.names], *([line.name, *line.values] for line in lines)])


def to_markdown(comparison):
    """A table for a page, the best of a line in bold."""
    lines = (*comparison.settings, *comparison.measured)
    cells = [["", *comparison.names], *([line.name, *map(figure, line.values)] for line in lines)]
    text = as_markdown(cells).splitlines()
    for number, line in enumerate(lines, start=2):
        parts = text[number].split(" | ")
        for i in line.best:
            end = " |" if i == len(line.values) - 1 else ""
            parts[i + 1] = f"**{parts[i + 1].removesuffix(' |')}**{end}"
        text[number] = " | ".join(parts)
    return "\n".join([*text, "", *comparison.notes]).rstrip() + "\n"


def _names(dicts):
    return list(dict.fromkeys(name for values in dicts for name in values))


def _grouped(names):
    """Validation, test, second stage, judge; within each in the order of the first run that has them."""
    return sorted(names, key=lambda name: ("val", "test", "prior", "generation").index(name.split("/")[0]))


def _best(name, values, differing):
    """The indices of the best values, none where there is nothing to choose between or no better end."""
    numbers = {i: value for i, value in enumerate(values) if is_number(value) and math.isfinite(value)}
    metric = name.rsplit("/", 1)[-1]
    lower, higher = metric.startswith(_LOWER_IS_BETTER), metric.startswith(_HIGHER_IS_BETTER)
    if "training_images" in name or not (lower or higher) or not _alike(name, differing):
        return frozenset()
    if len(numbers) < 2 or len(set(numbers.values())) == 1:
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


def _marked(line, i):
    value = printable(figure(line.values[i]))
    return value + (" *" if i in line.best else "  ")


def _blocks(widths, label, terminal):
    """The runs in blocks that fit beside each other, at least one in each."""
    blocks, used = [[]], label
    for i, columns in enumerate(widths):
        if terminal is not None and blocks[-1] and used + 2 + columns > terminal:
            blocks.append([])
            used = label
        blocks[-1].append(i)
        used += 2 + columns
    return blocks
