"""The first stage of a run: the model is trained, and judged at its best epoch."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mtvae_jax.config import is_quantised, model_name, run_hash
from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, count_parameters, grid_size
from mtvae_jax.objective import Objective
from mtvae_jax.process import environment
from mtvae_jax.process.devices import replicate
from mtvae_jax.process.distributed import on_main
from mtvae_jax.process.memory import enough_memory
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.codebook_start import codebook_from_data
from mtvae_jax.training.divergence import evaluation_failure, forget, not_finite
from mtvae_jax.training.health import findings
from mtvae_jax.training.loop import fit_side_by_side
from mtvae_jax.training.run_figures import RunFigures
from mtvae_jax.training.trainee import Trainee
from mtvae_jax.wording import number_of
from mtvae_jax.workdir.directory import (
    describe,
    ending,
    is_complete,
    open_workdir,
    read_summary,
    record_origin,
    user_path,
    write_json,
)
from mtvae_jax.workdir.fingerprint import fingerprint
from mtvae_jax.workdir.metric_log import read_metrics


class Job(NamedTuple):
    """**config**: resolved; **workdir**: the run's directory; **stream**: where its progress goes, standard output if
    None."""

    config: Any
    workdir: Path
    stream: Any = None


def train(config, dataset, workdir, *, finish=False, stop_requested=lambda: False, stream=None):
    """Trains the model of `config` on `dataset` to its last epoch, from wherever an earlier call stopped.

    With `train.patience` it ends before that once so many epochs were no better than the best.

    **Arguments:** `config`, `workdir`, `stream`: of a `Job`; `dataset`: `mtvae_jax.data.Dataset`; `finish`: trains no
    further, and ends with the best epoch so far; `stop_requested`: asked about once a second.
    **Returns:** the summary, as in summary.json.
    **Raises:** `UserError`; `fit.Stopped` after saving, where `stop_requested` said so.
    """
    (result,) = train_side_by_side(
        [Job(config, workdir, stream)], dataset, finish=finish, stop_requested=stop_requested
    )
    if isinstance(result, UserError):
        raise result
    return result


@environment.own_numbers
def train_side_by_side(jobs, dataset, *, finish=False, stop_requested=lambda: False):
    """The same for several runs in one compiled program, see `fit.fit_side_by_side`.

    **Arguments:** `jobs`: of `Job`, whose configs differ in nothing but seed and knobs; `dataset`: of all.
    **Returns:** of each its summary, or the `UserError` that says how it diverged.
    **Raises:** as `train`.
    """
    jobs = [job._replace(workdir=user_path(job.workdir)) for job in jobs]
    if finish:
        for job in jobs:
            _require_an_epoch(job.workdir)
    with contextlib.ExitStack() as locks:
        for job in jobs:
            locks.enter_context(open_workdir(job.workdir, job.config, dataset))
        results = [_complete(job) for job in jobs]
        left = [index for index, summary in enumerate(results) if summary is None]
        if left:
            with enough_memory("training", jobs[0].config, "train.batch_size", "model.hidden_dims"):
                trained = _train([jobs[index] for index in left], dataset, finish, stop_requested)
            for index, result in zip(left, trained, strict=True):
                results[index] = result
        return results


def _complete(job):
    """The summary of a run that has been trained as long as it is to be, else None."""
    summary = read_summary(job.workdir)
    return summary if is_complete(summary, job.config.train) else None


@on_main
def _require_an_epoch(workdir):
    if not (workdir / "config.json").exists() or not (workdir / "metrics.jsonl").exists() or not read_metrics(workdir):
        raise UserError(f"--finish: in {workdir} no epoch of a run has ended yet, so there is no model to end with")


@on_main
def _forget_early_end(workdir):
    """Of a run that was ended early and goes on: as it is now nothing has ended it."""
    if "stopped_early" in (read_summary(workdir) or {}):
        (workdir / "summary.json").unlink()


def _train(jobs, dataset, finish, stop_requested):
    origin = environment.origin()
    notes = [record_origin(job.workdir, origin) for job in jobs]
    for job in jobs:
        _forget_early_end(job.workdir)
    trainees = [_trainee(job, dataset, len(jobs), note) for job, note in zip(jobs, notes, strict=True)]
    results = fit_side_by_side(
        trainees,
        {"images": dataset.train},
        {"images": dataset.validation},
        section="train",
        finish=finish,
        stop_requested=stop_requested,
    )
    return [
        result if isinstance(result, UserError) else _summarize(job, dataset, trainee, result, note, finish)
        for job, trainee, result, note in zip(jobs, trainees, results, notes, strict=True)
    ]


def _trainee(job, dataset, side_by_side, notes):
    config, clock = job.config, Clock(side_by_side)
    objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
    parameters = count_parameters(jax.eval_shape(objective.init, objective.base_key)["params"])
    return Trainee(
        objective,
        job.workdir,
        clock=clock,
        start=codebook_from_data(objective, dataset.train),
        headline=[*headline(config, dataset, parameters), *(f"WARNING: {note}" for note in notes)],
        draw=RunFigures(job.workdir / "figures", config, dataset) if config.train.figures_every else None,
        stream=job.stream,
    )


def _summarize(job, dataset, trainee, fitted, notes, finish):
    """Judges the best model on the test split, and writes summary.json.

    **Arguments:** `notes`: sentences for its warnings; `finish`: whether the run was told to end.

    **Returns:** the summary, or the `UserError` that says which test images have no finite metrics.
    """
    config, objective, clock = job.config, trainee.objective, trainee.clock
    variables, test_split = replicate(fitted.variables), fitted.evaluate.place({"images": dataset.test})
    means, by_count = fitted.evaluate.means(variables, test_split), fitted.evaluate.by_count(variables, test_split)
    test = {f"test/{name}": value for name, value in objective.metrics(means).items()}
    kl, best = means.get("kl_per_dimension"), fitted.record
    if not_finite(test):
        return evaluation_failure(
            objective, fitted.variables, test, {"images": dataset.test}, job.workdir, split="test",
            epoch=best["epoch"], step=best["step"], good=best["step"], section="train",
        )
    forget(job.workdir, fitted.step)
    summary = {
        "model": model_name(config),
        "config_hash": run_hash(config),
        **ending(len(fitted.records), config.train, finish=finish),
        "steps": fitted.step,
        "best_epoch": best["epoch"],
        **{name: value for name, value in best.items() if name.startswith("val/")},
        **test,
        **({} if by_count is None else {"test_reconstruction_by_pixels": {str(n): e for n, e in by_count.items()}}),
        **({} if kl is None else {"test_kl_per_dimension": sorted(map(float, kl), reverse=True)}),
        "warnings": [*dataset.remarks, *notes, *(found.sentence for found in findings(best, config.model))],
        "beta": config.loss.beta,
        "variance": config.loss.variance,
        "parameters": count_parameters(fitted.variables["params"]),
        "parameters_sha256": fingerprint(fitted.variables),
        "images_per_second": clock.images_per_second,
        **clock.record(),
        "device": environment.device(),
        "versions": environment.versions(),
        "data": describe(dataset),
    }
    write_json(job.workdir / "summary.json", summary)
    return summary


def headline(config, dataset, parameters):
    """What is trained on which images and device, in a few lines."""
    height, width, channels = dataset.image_shape
    method, conditioning = METHODS[config.model.method], config.conditioning
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if name != "total")
    yield (
        f"{model_name(config)} on {dataset.name}, {height}×{width}×{channels}: {len(dataset.train):,} training, "
        f"{len(dataset.validation):,} validation, {number_of(len(dataset.test), 'test image')}"
    )
    for remark in dataset.remarks:
        yield f"WARNING: {remark}"
    yield f"{number_of(parameters['total'], 'parameter')} ({parts})"
    if not is_quantised(config.model.latent):
        yield f"β = {config.loss.beta:.3g}, for a decoder variance σ² = βD/2 of {config.loss.variance:.3g}"
    else:
        rows, columns = grid_size(config, dataset.image_shape)
        yield f"{rows} × {columns} codes out of {config.model.codebook_size}, commitment β = {config.loss.beta:.3g}"
    if method.counts == "constant":
        pixels = number_of(height * width, "pixel")
        yield f"{conditioning.num_pixels} of {pixels} revealed, {conditioning.sampling} sampling"
    if method.counts == "power_law":
        yield f"power law of exponent {conditioning.exponent:g} reveals pixels, {conditioning.sampling} sampling"
    yield f"on {environment.device()}"
