"""Runs of the table that differ in nothing but their seed, and their mean."""

import dataclasses
import math

import numpy as np

from mtvae_jax.study.factors import Factors
from mtvae_jax.study.statistics import mean_effect

_FIELDS = tuple(field.name for field in dataclasses.fields(Factors) if field.name != "seed")
LEVEL = 0.95


def replicates(rows, **factors):
    """The complete runs of a model, a row a seed.

    **Arguments:** `rows`: the tidy table; `factors`: fields of `Factors`; those not given have their defaults.
    """
    wanted = dataclasses.asdict(Factors(**factors))
    return [
        row
        for row in rows
        if row["status"] == "complete" and all(row.get(name) == wanted[name] for name in _FIELDS)
    ]


def values_of(rows, metric):
    """The finite values of a column, float [n]."""
    values = [row.get(metric) for row in rows]
    return np.array([float(value) for value in values if value is not None and math.isfinite(value)])


def values_on_axis(rows, axis, **factors):
    """The values of the factor `axis` that models, otherwise as `factors` say, were run with, in order."""
    present = {row.get(axis) for row in rows if row["status"] == "complete"} - {None}
    return [value for value in sorted(present) if replicates(rows, **{**factors, axis: value})]


def mean_interval(values):
    """(mean, low, high) with the 95 % t interval of the mean; None for what so few values do not have."""
    estimate = mean_effect(values, level=LEVEL)
    return tuple(float(value) if np.isfinite(value) else None for value in estimate[:3])
