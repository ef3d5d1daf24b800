"""Runs of the table that differ in nothing but their seed, and their mean."""

import dataclasses

import numpy as np

from mtvae_jax.study.claims import AXES
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.report.looks import ORDER
from mtvae_jax.study.statistics import mean_effect


def replicates(rows, **factors):
    """Returns the complete runs of a model, a row a seed.

    **Arguments:** `rows`: the tidy table; `factors`: fields of `Factors`; those not given have their defaults.
    """
    wanted = dataclasses.asdict(Factors(**factors))
    del wanted["seed"]
    return [
        row for row in rows
        if row["status"] == "complete" and all(row.get(name) == value for name, value in wanted.items())
    ]


def by_model(rows, dataset, latent):
    """Returns {(method, sampling): its `replicates`} of the models that there are, with the thesis' own settings."""
    found = {(method, sampling): replicates(rows, dataset=dataset, latent=latent, method=method, sampling=sampling)
             for method, sampling in ORDER}
    return {model: runs for model, runs in found.items() if runs}


def along(rows, axis, **factors):
    """Returns {value of the factor `axis`: the `replicates` that have it}, in order, of models otherwise as `factors`
    say.
    """
    present = {row.get(axis) for row in rows if row["status"] == "complete"}
    if None not in AXES[axis]:
        present -= {None}
    values = sorted(present, key=lambda value: (value is not None, value))
    found = {value: replicates(rows, **{**factors, axis: value}) for value in values}
    return {value: runs for value, runs in found.items() if runs}


def values_of(rows, metric):
    """Returns the finite values of a column, float [n]."""
    values = np.array([row.get(metric) for row in rows], float)
    return values[np.isfinite(values)]


def mean_interval(values):
    """Returns (mean, low, high) with the 95 % t interval of the mean; None for what so few values do not have."""
    return tuple(float(value) if np.isfinite(value) else None for value in mean_effect(values)[:3])
