"""The second stage of a run: a prior over the latent of the frozen, best model, in a folder of the same directory."""

import os

import jax
import numpy as np

from mtvae_jax.config import model_name, prior_settings, to_dict
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.losses import bits_per_dim
from mtvae_jax.models import count_parameters
from mtvae_jax.process import environment
from mtvae_jax.process.devices import replicate
from mtvae_jax.process.distributed import on_main
from mtvae_jax.process.memory import enough_memory
from mtvae_jax.trained.model import load
from mtvae_jax.trained.prior import LearnedPrior, prior_directory
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.divergence import evaluation_failure, forget, not_finite
from mtvae_jax.training.loop import fit
from mtvae_jax.training.prior_figures import PriorFigures
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.start import start_from_data
from mtvae_jax.workdir.directory import (
    ending,
    open_workdir,
    read_json,
    read_summary,
    record_origin,
    user_path,
    write_json,
)
from mtvae_jax.workdir.fingerprint import fingerprint
from mtvae_jax.workdir.metric_log import show_summary

_MOST_CLASSES = 65536


@environment.own_numbers
def train_prior(config, dataset, workdir, *, finish=False, stop_requested=lambda: False, stream=None):
    """Trains the prior that `config` describes on the latents of the best model in `workdir`, or goes on with it.

    The training and validation images are encoded once, and their posteriors kept in the folder.

    **Arguments:** as `train`, which must be complete.
    **Returns:** the summary, as in the folder's summary.json.
    **Raises:** `UserError`; `loop.Stopped` after saving, where `stop_requested` said so.
    """
    workdir = user_path(workdir)
    with (
        open_workdir(workdir, config, dataset),  # by whose settings `load` finds this prior
        enough_memory("the second stage", config, "prior.batch_size", "prior.hidden_dim"),
    ):
        return _train_prior(config, dataset, workdir, finish, stop_requested, stream)


def _train_prior(config, dataset, workdir, finish, stop_requested, stream):
    clock = Clock()
    model = load(workdir, prior=False)
    directory = prior_directory(workdir, config, model.step)
    summary = read_summary(directory)
    if summary is not None:
        return summary

    notes = record_origin(workdir, environment.origin())
    counts = count_labels(config, dataset)
    prior = LearnedPrior(
        config, dataset.image_shape, len(counts), label_counts=_unless_begun_without(counts, directory / "config.json")
    )
    on_main(directory.mkdir)(parents=True, exist_ok=True)
    write_json(
        directory / "config.json",
        {
            "prior": prior_settings(config),
            "settings": to_dict(config)["prior"],
            "num_classes": prior.num_classes,
            "label_counts": prior.label_counts,
            "model_step": model.step,
        },
    )
    splits = _posteriors(model, dataset, directory / "posteriors.npz")
    data, validation, test = (
        prior.rows(posterior, getattr(dataset, split), getattr(dataset, f"{split}_labels"))
        for split, posterior in splits.items()
    )
    objective = PriorObjective.of(prior)
    parameters = count_parameters(jax.eval_shape(objective.init, objective.base_key)["params"])
    fitted = fit(
        objective,
        data,
        validation,
        directory,
        section="prior",
        clock=clock,
        start=start_from_data(objective, dataset.train),
        headline=[*_headline(config, parameters, model.step), *(f"WARNING: {note}" for note in notes)],
        draw=PriorFigures(workdir / "figures", model, prior, dataset) if model.config.train.figures_every else None,
        checkpoint_seconds=config.train.checkpoint_seconds,
        trackers=config.train.trackers,
        finish=finish,
        stop_requested=stop_requested,
        stream=stream,
    )

    metrics, best = fitted.evaluate(replicate(fitted.variables), fitted.evaluate.place(test)), fitted.record
    judged = {f"test/{name}": value for name, value in metrics.items()}
    if not_finite(judged):
        raise evaluation_failure(
            objective, fitted.variables, judged, test, directory, split="test",
            epoch=best["epoch"], step=best["step"], good=best["step"], section="prior",
        )
    forget(directory, fitted.step)
    bounds = _bounds(metrics, read_summary(workdir), dataset)
    summary = {
        "model": model_name(config),
        "model_step": model.step,
        **ending(len(fitted.records), config.prior, finish=finish),
        "steps": fitted.step,
        "best_epoch": best["epoch"],
        **{name: value for name, value in best.items() if name.startswith("val/")},
        **judged,
        **{f"test/{name}": value for name, value in bounds.items()},
        "warnings": [*dataset.remarks, *notes],
        "parameters": parameters,
        "parameters_sha256": fingerprint(fitted.variables),
        "images_per_second": clock.images_per_second,
        **clock.record(),
        "device": environment.device(),
        "versions": environment.versions(),
    }
    write_json(directory / "summary.json", summary)
    show_summary(directory, config.train.trackers, summary, epochs=len(fitted.records), step=fitted.step)
    return summary


def _bounds(nats, first_stage, dataset):
    """The bound log p(x|z) + log p(z) on log p(x) of the test images, and with p(z|m) on log p(x|m).

    As `losses.bits_per_dim` has it: 8-bit images, the likelihood N(x̂, σ²I) at its best σ². In bits a value, and as
    `bound` in nats an image.
    """
    values, bounds = int(np.prod(dataset.image_shape)), {}
    for suffix in ("", "_conditioned"):
        error = first_stage.get(f"test/reconstruction{suffix}")
        if error is not None and f"nats{suffix}" in nats:
            bits = float(bits_per_dim(error, nats[f"nats{suffix}"], values))
            bounds |= {f"bits_per_dim{suffix}": bits, f"bound{suffix}": -bits * values * float(np.log(2))}
    return bounds


def count_labels(config, dataset):
    """Returns how many training images have each of the labels 0, 1, … that the prior sees: a list, empty where it sees
    none.

    **Raises:** `UserError` for labels that it cannot learn from.
    """
    if not config.prior.class_conditional:
        return []
    labels = dataset.train_labels, dataset.validation_labels, dataset.test_labels
    if any(split is None for split in labels):
        which = "no labels" if dataset.train_labels is None else "no labels of the test images"
        raise UserError(f"config.prior.class_conditional = True: {dataset.name} has {which}; must be False")
    low, high = int(min(split.min() for split in labels)), int(max(split.max() for split in labels))
    if low < 0 or high >= _MOST_CLASSES:
        raise UserError(
            f"config.prior.class_conditional = True: the labels of {dataset.name} lie in {low} … {high}; must be "
            f"classes, in 0 … {_MOST_CLASSES - 1}"
        )
    counts = np.bincount(dataset.train_labels, minlength=1 + high)
    for name, split in (("validation", dataset.validation_labels), ("test", dataset.test_labels)):
        unseen = np.unique(split[counts[split] == 0])
        if len(unseen):
            raise UserError(
                f"config.prior.class_conditional = True: {dataset.name} has {name} images of label {unseen[0]}, which "
                "no training image has; must be False, or the splits others"
            )
    return counts.tolist()


def _unless_begun_without(counts, path):
    """The label counts; None for a second stage begun by an earlier version, whose network has nothing to do with them.

    **Arguments:** `path`: of its description, if there is one.
    """
    try:
        begun = read_json(path)
    except UserError:  # damaged; it is written again
        return counts
    return counts if begun is None or begun.get("label_counts") is not None else None


@on_main
def _posteriors(model, dataset, path):
    """The posteriors of each split, {"train": …, "validation": …, "test": …}, from the file if they are there."""
    if path.exists():
        try:
            with np.load(path) as file:
                return {split: file[split] for split in ("train", "validation", "test")}
        except Exception:  # damaged: numpy raises a handful of kinds, and encoding once more mends all
            path.unlink()
    splits = {split: model.posterior(getattr(dataset, split)) for split in ("train", "validation", "test")}
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **splits)
    os.replace(temporary, path)
    return splits


def _headline(config, parameters, step):
    what = {1.0: "p(z)", 0.0: "p(z|m)"}.get(config.prior.unconditional, "p(z) and p(z|m)")
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if name != "total")
    total = number_of(parameters["total"], "parameter")
    yield f"second stage: {what} of the frozen model of step {step:,}; {total} ({parts})"
    yield f"on {environment.device()}"
