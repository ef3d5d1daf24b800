"""A run as one flat row: the fields to sort by, to choose by, and to hand to other programs."""

import datetime

from mtvae_jax.runs.run import DAMAGED

_FIRST = ("name", "path", "state", "problem", "epoch", "epochs", "best_epoch", "second_stage", "second_stage_epoch",
          "parameters", "parameters_sha256", "prior_parameters_sha256", "size", "touched")


def row(run):
    """{"name": …, "state": …, "val/loss": …, "prior/test/nats": …, "train.epochs": …}: fields of the run, metrics with
    a slash, fields of its config with a dot; what is not known is not there.
    """
    model, prior = run.model, run.prior
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
        "parameters": _total(model),
        "parameters_sha256": model and model.summary.get("parameters_sha256"),
        "prior_parameters_sha256": prior and prior.summary.get("parameters_sha256"),
        "size": run.size,
        "touched": datetime.datetime.fromtimestamp(int(run.touched), datetime.UTC).isoformat(),
    }
    return {name: value for name, value in values.items() if value is not None} | metrics(run) | run.about | run.config


def metrics(run):
    """Of both stages and of the judge: {"val/loss": …, "prior/val/loss": …, "generation/samples/…": …}."""
    values = dict(run.model.metrics) if run.model else {}
    values |= {f"prior/{name}": value for name, value in run.prior.metrics.items()} if run.prior else {}
    return values | {f"generation/{name}": value for name, value in run.generation.items()}


def columns(rows):
    """All fields of some rows: those of the run, the metrics, then the config."""
    names = dict.fromkeys(name for row in rows for name in row)
    first = [name for name in _FIRST if name in names]
    rest = [name for name in names if name not in first]
    return first + sorted(rest, key=lambda name: ("/" not in name, name.startswith(("data.f", "data.p", "versions"))))


def _total(stage):
    parameters = stage.summary.get("parameters") if stage else None
    return parameters.get("total") if isinstance(parameters, dict) else None
