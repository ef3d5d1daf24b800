"""The first stage of a run: the model is trained, and judged at its best epoch."""


import jax

from mtvae_jax.conditioning import describe_masks
from mtvae_jax.config import model_name, run_hash
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.models import build_model, count_parameters, grid_size
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.objective import Objective
from mtvae_jax.process import environment
from mtvae_jax.process.devices import replicate
from mtvae_jax.process.distributed import on_main
from mtvae_jax.process.memory import enough_memory
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.divergence import evaluation_failure, forget, not_finite
from mtvae_jax.training.loop import fit
from mtvae_jax.training.run_figures import RunFigures
from mtvae_jax.training.start import start_from_data
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
from mtvae_jax.workdir.metric_log import read_metrics, show_summary


@environment.own_numbers
def train(config, dataset, workdir, *, finish=False, stop_requested=lambda: False, stream=None):
    """Trains the model of `config` on `dataset` to its last epoch, from wherever an earlier call stopped.

    With `train.patience` it ends before that once so many epochs were no better than the best.

    **Arguments:** `config`: resolved; `dataset`: `mtvae_jax.data.Dataset`; `workdir`: the run's directory; `finish`:
    trains no further, and ends with the best epoch so far; `stop_requested`: asked about once a second; `stream`: where
    progress goes, standard output if None.
    **Returns:** the summary, as in summary.json.
    **Raises:** `UserError`, also where the training diverges; `loop.Stopped` after saving, where `stop_requested` said
    so.
    """
    workdir = user_path(workdir)
    if finish:
        _require_an_epoch(workdir)
    with open_workdir(workdir, config, dataset):
        if (summary := complete(config, workdir)) is not None:
            return summary
        with enough_memory("training", config, "train.batch_size", "model.hidden_dims"):
            stage, clock = FirstStage(config, dataset, workdir), Clock()
            fitted = fit(
                stage.objective,
                {"images": dataset.train},
                {"images": dataset.validation},
                workdir,
                section="train",
                clock=clock,
                finish=finish,
                stop_requested=stop_requested,
                stream=stream,
                **stage.recorder_arguments,
            )
            return stage.summarize(fitted, clock, finish=finish)


def complete(config, workdir):
    """Returns the summary of a run that has been trained as long as it is to be, else None."""
    summary = read_summary(workdir)
    return summary if is_complete(summary, config.train) else None


@on_main
def _require_an_epoch(workdir):
    if not (workdir / "config.json").exists() or not (workdir / "metrics.jsonl").exists() or not read_metrics(workdir):
        raise UserError(f"--finish: in {workdir} no epoch of a run has ended yet, so there is no model to end with")


@on_main
def _forget_early_end(workdir):
    """Of a run that was ended early and goes on: as it is now nothing has ended it."""
    if "stopped_early" in (read_summary(workdir) or {}):
        (workdir / "summary.json").unlink()


class FirstStage:
    """What is around the training of one model: what it starts from, says first and draws, and its summary at the end.

    **Arguments:** `config`: resolved; `dataset`; `workdir`: the run's directory, open.
    """

    def __init__(self, config, dataset, workdir):
        self.objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
        self._dataset, self._workdir = dataset, workdir
        self._notes = record_origin(workdir, environment.origin())
        _forget_early_end(workdir)

    @property
    def recorder_arguments(self):
        """Of a `Recorder`."""
        objective, dataset = self.objective, self._dataset
        config = objective.config
        parameters = count_parameters(jax.eval_shape(objective.init, objective.base_key)["params"])
        return {
            "start": start_from_data(objective, dataset.train),
            "headline": [*headline(config, dataset, parameters), *(f"WARNING: {note}" for note in self._notes)],
            "draw": RunFigures(self._workdir / "figures", config, dataset) if config.train.figures_every else None,
            "checkpoint_seconds": config.train.checkpoint_seconds,
            "trackers": config.train.trackers,
        }

    def summarize(self, fitted, clock, *, finish=False):
        """Evaluates the best model on the test split, and on as many training images as validate it, and writes
        summary.json.

        **Arguments:** `fitted`: of `fit`; `finish`: whether the run was told to end.
        **Returns:** the summary. **Raises:** `UserError` that says which test images have no finite metrics.
        """
        objective, dataset, workdir = self.objective, self._dataset, self._workdir
        config = objective.config
        variables, test_split = replicate(fitted.variables), fitted.evaluate.place({"images": dataset.test})
        means, by_count = fitted.evaluate.means(variables, test_split), fitted.evaluate.by_count(variables, test_split)
        test = {f"test/{name}": value for name, value in objective.metrics(means).items()}
        kl, best = means.get("kl_per_dimension"), fitted.record
        if not_finite(test):
            raise evaluation_failure(
                objective, fitted.variables, test, {"images": dataset.test}, workdir, split="test",
                epoch=best["epoch"], step=best["step"], good=best["step"], section="train",
            )
        forget(workdir, fitted.step)
        # What training itself logs under these names is of the model at work: of masks, noise and batch statistics
        seen = fitted.evaluate.place({"images": dataset.train[: len(dataset.validation)]})
        train = {f"train/{name}": value for name, value in fitted.evaluate(variables, seen).items()}
        summary = {
            "model": model_name(config),
            "config_hash": run_hash(config),
            **ending(len(fitted.records), config.train, finish=finish),
            "steps": fitted.step,
            "best_epoch": best["epoch"],
            **{name: value for name, value in best.items() if name.startswith("val/")},
            **train,
            **test,
            **({} if by_count is None else {"test_reconstruction_by_pixels": {str(n): e for n, e in by_count.items()}}),
            **({} if kl is None else {"test_kl_per_dimension": sorted(map(float, kl), reverse=True)}),
            "warnings": [*dataset.remarks, *self._notes, *(found.sentence for found in objective.findings(best))],
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
        write_json(workdir / "summary.json", summary)
        show_summary(workdir, config.train.trackers, summary, epochs=len(fitted.records), step=fitted.step)
        return summary


def headline(config, dataset, parameters):
    """Returns what is trained on which images and device, in a few lines."""
    height, width, channels = dataset.image_shape
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if name != "total")
    yield (
        f"{model_name(config)} on {dataset.name}, {height}×{width}×{channels}: {len(dataset.train):,} training, "
        f"{len(dataset.validation):,} validation, {number_of(len(dataset.test), 'test image')}"
    )
    yield from dataset.found
    for remark in dataset.remarks:
        yield f"WARNING: {remark}"
    yield f"{number_of(parameters['total'], 'parameter')} ({parts})"
    yield LATENTS[config.model.latent].describe(config, grid_size(config, dataset.image_shape))
    if (masks := describe_masks(config, height * width)) is not None:
        yield masks
    yield f"on {environment.device()}"
