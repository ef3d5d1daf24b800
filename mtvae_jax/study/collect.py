"""All results of a study as one tidy table: a row a run, with what varied, what was measured and what follows."""

import dataclasses
import math

import numpy as np

from mtvae_jax.errors import UserError
from mtvae_jax.study.factors import Factors
from mtvae_jax.workdir.directory import read_json, read_summary
from mtvae_jax.workdir.metric_log import read_metrics

FACTORS = tuple(field.name for field in dataclasses.fields(Factors))
_PLACE = (*FACTORS, "beta_scale", "run", "workdir", "status", "error")  # what a row has, or had in 0.1, besides figures


def collect(tasks, failures, earlier):
    """**Arguments:** `tasks`: {`Factors`: `Task`}; `failures`: {work directory: error in one line}; `earlier`: of
    `read_earlier`, what is known of runs that are not there.
    **Returns:** a list of dicts, a row for each set of factors, in the order of `tasks`: all factors, `run`, `workdir`,
    `status` ("complete", "failed" or "missing"), `error`, and the figures of complete runs. Nothing in it tells of time
    or place, so that a study done twice has the same table twice.
    """
    return [_row(factors, task, failures.get(task.workdir), earlier) for factors, task in tasks.items()]


def read_earlier(paths):
    """Returns what the tables of earlier reports know: {run: its figures}, of complete runs; of two tables the first
    counts.

    A figure that a run has not, as those of other latents, is None.

    **Arguments:** `paths`: of results.parquet files. **Raises:** `UserError` for what is no such table.
    """
    if not paths:
        return {}
    import pyarrow
    from pyarrow import parquet

    known = {}
    for path in reversed(paths):
        try:
            rows = parquet.read_table(path).to_pylist()
            runs = {row["run"]: row for row in rows if row["status"] == "complete"}
        except (OSError, pyarrow.ArrowException, KeyError) as error:
            raise UserError(f"config.earlier: {path} is no results.parquet of a study; name one that is") from error
        known |= {run: {name: value for name, value in row.items() if name not in _PLACE} for run, row in runs.items()}
    return known


def curves(tasks):
    """Returns {run: the records of its metrics.jsonl}, of complete runs."""
    return {task.workdir.name: read_metrics(task.workdir) for task in tasks.values() if task.complete}


def write_csv(rows, path):
    """Returns one line a run; floats with all their digits."""
    import csv

    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(rows, path):
    """Returns the same table as `write_csv`'s, with types."""
    import pyarrow
    from pyarrow import parquet

    columns = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in columns}), path)


def _row(factors, task, error, earlier):
    row = {**dataclasses.asdict(factors), "run": task.workdir.name, "workdir": str(task.workdir)}
    if not task.complete and row["run"] in earlier:
        return row | {"status": "complete", "error": None} | earlier[row["run"]]
    if not task.complete:
        return row | {"status": "missing" if error is None else "failed", "error": error}
    summary = read_summary(task.workdir)
    figures = {name: value for name, value in summary.items() if name.startswith(("train/", "val/", "test/"))}
    return row | {
        "status": "complete",
        "error": None,
        "best_epoch": summary["best_epoch"],
        "parameters": summary["parameters"]["total"],
        **figures,
        **_derived(figures, task),
        **_generation(task),
    }


def _derived(figures, task):
    derived = {"fluctuation": fluctuation([record["val/loss"] for record in read_metrics(task.workdir)])}
    if "test/reconstruction" in figures and "test/reconstruction_conditioned" in figures:
        share = figures["test/reconstruction_conditioned"] / figures["test/reconstruction"]
        derived["conditioned_gap"] = 100.0 * (1.0 - share)
    if "train/reconstruction" in figures:
        derived["generalisation_gap"] = 100.0 * (figures["val/reconstruction"] / figures["train/reconstruction"] - 1.0)
    if "test/kl" in figures:
        derived["kl_per_unit"] = figures["test/kl"] / task.config.model.latent_dim
    if "test/active_units" in figures:
        derived["active_share"] = figures["test/active_units"] / task.config.model.latent_dim
    return derived


def _generation(task):
    """How images from nothing compare with test images, of runs whose prior needs no training."""
    judged = read_json(task.workdir / "generation.json") or {}
    return {f"generation/{name}": value for name, value in judged.get("samples", {}).get("prior", {}).items()}


def fluctuation(losses):
    """Returns how unsteady the second half of a training is: the root mean square of the change from epoch to epoch of
    what is left after a straight line, in per cent of the mean.

    **Arguments:** `losses`: one an epoch, oldest first. **Returns:** per cent; None for fewer than 5 epochs.
    """
    half = np.asarray(losses[len(losses) // 2 :], float)
    if len(half) < 3:
        return None
    changes = np.diff(half)
    return 100.0 * math.sqrt(np.mean((changes - changes.mean()) ** 2)) / float(half.mean())
