"""The first stage of a run: the model is trained, and judged at its best epoch."""

from pathlib import Path

import jax

from mtvae_jax import environment
from mtvae_jax.clock import Clock
from mtvae_jax.codebook_start import codebook_from_data
from mtvae_jax.config import model_name, run_hash
from mtvae_jax.fit import fit
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, count_parameters, grid_size
from mtvae_jax.objective import Objective
from mtvae_jax.replication import replicate
from mtvae_jax.run_figures import RunFigures
from mtvae_jax.workdir import describe, open_workdir, read_summary, write_json


def train(config, dataset, workdir, *, stop_requested=lambda: False, stream=None):
    """Trains the model of `config` on `dataset` to its last epoch, from wherever an earlier call stopped.

    **Arguments:** `config`: resolved; `dataset`: `mtvae_jax.data.Dataset`; `workdir`: the run's directory;
    `stop_requested`: asked about once a second; `stream`: where progress goes, standard output if None.
    **Returns:** the summary, as in summary.json.
    **Raises:** `UserError`; `fit.Stopped` after saving, where `stop_requested` said so.
    """
    clock = Clock()
    workdir = Path(workdir)
    open_workdir(workdir, config, dataset, environment.versions())
    summary = read_summary(workdir)
    if summary is not None and summary["epochs"] == config.train.epochs:
        return summary

    objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
    parameters = count_parameters(jax.eval_shape(objective.init, objective.base_key)["params"])
    fitted = fit(
        objective,
        {"images": dataset.train},
        {"images": dataset.validation},
        workdir,
        section="train",
        clock=clock,
        start=codebook_from_data(objective, dataset.train),
        headline=_headline(config, dataset, parameters),
        draw=RunFigures(workdir / "figures", config, dataset) if config.train.figures_every else None,
        stop_requested=stop_requested,
        stream=stream,
    )

    # The best model on the test split
    variables, test_split = replicate(fitted.variables), fitted.evaluate.place({"images": dataset.test})
    means, by_count = fitted.evaluate.means(variables, test_split), fitted.evaluate.by_count(variables, test_split)
    test, kl = objective.metrics(means), means.get("kl_per_dimension")
    summary = {
        "model": model_name(config),
        "config_hash": run_hash(config),
        "epochs": config.train.epochs,
        "steps": fitted.step,
        "best_epoch": fitted.record["epoch"],
        **{name: value for name, value in fitted.record.items() if name.startswith("val/")},
        **{f"test/{name}": value for name, value in test.items()},
        **({} if by_count is None else {"test_reconstruction_by_pixels": {str(n): e for n, e in by_count.items()}}),
        **({} if kl is None else {"test_kl_per_dimension": sorted(map(float, kl), reverse=True)}),
        "beta": config.loss.beta,
        "variance": config.loss.variance,
        "parameters": parameters,
        "images_per_second": clock.images_per_second,
        **clock.record(),
        "device": environment.device(),
        "versions": environment.versions(),
        "data": describe(dataset),
    }
    write_json(workdir / "summary.json", summary)
    return summary


def _headline(config, dataset, parameters):
    """What is trained on what, in a few lines."""
    height, width, channels = dataset.image_shape
    method, conditioning = METHODS[config.model.method], config.conditioning
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if name != "total")
    yield (
        f"{model_name(config)} on {dataset.name}, {height}×{width}×{channels}: {len(dataset.train):,} training, "
        f"{len(dataset.validation):,} validation, {len(dataset.test):,} test images"
    )
    yield f"{parameters['total']:,} parameters ({parts})"
    if config.model.latent == "gaussian":
        yield f"β = {config.loss.beta:.3g}, for a decoder variance σ² = βD/2 of {config.loss.variance:.3g}"
    else:
        rows, columns = grid_size(config, dataset.image_shape)
        yield f"{rows} × {columns} codes out of {config.model.codebook_size}, commitment β = {config.loss.beta:.3g}"
    if method.counts == "constant":
        yield f"{conditioning.num_pixels} of {height * width} pixels revealed, {conditioning.sampling} sampling"
    if method.counts == "power_law":
        yield f"power law of exponent {conditioning.exponent:g} reveals pixels, {conditioning.sampling} sampling"
