"""One run: train, evaluate, save and report, epoch by epoch; go on where an earlier process stopped."""

import math
from pathlib import Path

import jax
import numpy as np

from mtvae_jax import environment
from mtvae_jax.checkpoints import Checkpoints
from mtvae_jax.clock import Clock
from mtvae_jax.config import model_name, run_hash
from mtvae_jax.errors import UserError
from mtvae_jax.evaluate import Evaluator
from mtvae_jax.methods import METHODS
from mtvae_jax.metric_log import MetricLog
from mtvae_jax.models import build_model, count_parameters
from mtvae_jax.objective import Objective
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.progress import Progress
from mtvae_jax.replication import first_replica, replicate, shard
from mtvae_jax.run_figures import RunFigures
from mtvae_jax.step import init_state, make_train_steps
from mtvae_jax.workdir import describe, open_workdir, read_summary, write_json

# Training between two looks at the progress line and at a request to stop.
_SECONDS_PER_CALL = 1.0


class Stopped(Exception):
    """The run was asked to stop and has saved all it had; the same command goes on."""


def train(config, dataset, workdir, *, stop_requested=lambda: False, stream=None):
    """Trains the model of `config` on `dataset` to its last epoch, from wherever an earlier call stopped.

    **Arguments:** `config`: resolved; `dataset`: `mtvae_jax.data.Dataset`; `workdir`: the run's directory;
    `stop_requested`: asked about once a second; `stream`: where progress goes, standard output if None.
    **Returns:** the summary, as in summary.json.
    **Raises:** `UserError`; `Stopped` after saving, where `stop_requested` said so.
    """
    clock = Clock()
    workdir = Path(workdir)
    open_workdir(workdir, config, dataset, environment.versions())
    summary = read_summary(workdir)
    if summary is not None and summary["epochs"] == config.train.epochs:
        return summary

    # Build
    steps_per_epoch = _steps_per_epoch(config, dataset)
    objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
    optimizer = make_optimizer(config, steps_per_epoch)
    state = init_state(objective, optimizer)
    parameters = count_parameters(state.params)

    # Restore
    checkpoints = Checkpoints(workdir / "checkpoints")
    if checkpoints.latest_step is not None:
        state, record = checkpoints.restore(state, checkpoints.latest_step)
        clock.resume(record)
    step = int(state.step)
    log = MetricLog(workdir, resume_epoch=step // steps_per_epoch)
    progress = Progress(total_epochs=config.train.epochs, steps_per_epoch=steps_per_epoch, stream=stream)
    for line in _headline(config, dataset, parameters, step, steps_per_epoch):
        progress.message(line)

    # Place everything on the devices and compile
    state, images = replicate(state), replicate(dataset.train)
    train_steps = make_train_steps(objective, optimizer, len(dataset.train))
    with clock.compiling():
        train_steps = train_steps.lower(state, images, _per_device(1)).compile()
    evaluate = Evaluator(objective)
    validation = evaluate.place(dataset.validation)
    figures = RunFigures(workdir / "figures", config, dataset)

    best = min((record["val/loss"] for record in log.records), default=math.inf)
    steps_per_call = 1
    for epoch in range(step // steps_per_epoch + 1, config.train.epochs + 1):
        # Train to the end of the epoch
        while step < epoch * steps_per_epoch:
            num_steps = min(steps_per_call, epoch * steps_per_epoch - step)
            with clock.training(num_steps * config.train.batch_size):
                state = train_steps(state, images, _per_device(num_steps))
                sums = first_replica(state.metrics)
            step += num_steps
            steps_per_call = max(1, round(num_steps * _SECONDS_PER_CALL / clock.call_seconds))
            step_in_epoch = step - (epoch - 1) * steps_per_epoch
            metrics = {f"train/{name}": float(total) / step_in_epoch for name, total in sums.items()}
            speed = clock.images_per_second
            progress.update(epoch=epoch, step_in_epoch=step_in_epoch, metrics=metrics, images_per_second=speed)
            if stop_requested() and step < epoch * steps_per_epoch:
                checkpoints.save(first_replica(state), clock.record())
                _stop(checkpoints, log, progress)

        # Evaluate
        metrics |= {f"val/{name}": value for name, value in evaluate(state.eval_variables, validation).items()}

        _check_finite(metrics, epoch)  # before saving: the last good state stays

        # Save: the log first, because the checkpoint says how much of the log counts
        log.write({"epoch": epoch, "step": step, "images_per_second": speed} | metrics)
        checkpoints.save(first_replica(state), clock.record(), metrics=metrics)

        # Report
        is_best, best = metrics["val/loss"] < best, min(best, metrics["val/loss"])
        progress.epoch_end(epoch=epoch, metrics=metrics, images_per_second=speed, is_best=is_best)
        if (epoch % config.train.figures_every == 0 or epoch == 1) and epoch < config.train.epochs:
            figures.draw(first_replica(state.eval_variables), log, epoch=epoch)
        if stop_requested() and epoch < config.train.epochs:
            _stop(checkpoints, log, progress)

    # Finish with the best model on the test split
    checkpoints.wait()
    best_state, _ = checkpoints.restore(first_replica(state), checkpoints.best_step)
    variables, test_split = replicate(best_state.eval_variables), evaluate.place(dataset.test)
    test, by_count = evaluate(variables, test_split), evaluate.by_count(variables, test_split)
    best_record = log.records[checkpoints.best_step // steps_per_epoch - 1]
    figures.draw(best_state.eval_variables, log, epoch=best_record["epoch"])
    summary = {
        "model": model_name(config),
        "config_hash": run_hash(config),
        "epochs": config.train.epochs,
        "steps": step,
        "best_epoch": best_record["epoch"],
        **{name: value for name, value in best_record.items() if name.startswith("val/")},
        **{f"test/{name}": value for name, value in test.items()},
        **({} if by_count is None else {"test_reconstruction_by_pixels": {str(n): e for n, e in by_count.items()}}),
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
    checkpoints.close()
    log.close()
    progress.close()
    return summary


def _check_finite(metrics, epoch):
    for name in ("train/loss", "val/loss"):
        if not math.isfinite(metrics[name]):
            raise UserError(
                f"epoch {epoch}: {name} is {metrics[name]}, training has diverged; lower config.train.learning_rate "
                "or set config.train.clip_norm, with another --workdir if you named one"
            )


def _stop(checkpoints, log, progress):
    checkpoints.close()
    log.close()
    progress.close()
    raise Stopped


def _per_device(number):
    return shard(np.full((jax.local_device_count(),), number, np.int32))


def _steps_per_epoch(config, dataset):
    batch, devices = config.train.batch_size, jax.device_count()
    if batch % devices:
        raise UserError(f"config.train.batch_size = {batch}: must be a multiple of the {devices} devices")
    if batch > len(dataset.train):
        raise UserError(
            f"config.train.batch_size = {batch}: must be at most {len(dataset.train)}, the images of the training split"
        )
    return len(dataset.train) // batch


def _headline(config, dataset, parameters, step, steps_per_epoch):
    """What is trained on what, in a few lines."""
    height, width, channels = dataset.image_shape
    method, conditioning = METHODS[config.model.method], config.conditioning
    parts = ", ".join(f"{name} {count:,}" for name, count in parameters.items() if name != "total")
    yield (
        f"{model_name(config)} on {dataset.name}, {height}×{width}×{channels}: {len(dataset.train):,} training, "
        f"{len(dataset.validation):,} validation, {len(dataset.test):,} test images"
    )
    yield f"{parameters['total']:,} parameters ({parts})"
    yield f"β = {config.loss.beta:.3g}, for a decoder variance σ² = βD/2 of {config.loss.variance:.3g}"
    if method.counts == "constant":
        yield f"{conditioning.num_pixels} of {height * width} pixels revealed, {conditioning.sampling} sampling"
    if method.counts == "power_law":
        yield f"power law of exponent {conditioning.exponent:g} reveals pixels, {conditioning.sampling} sampling"
    if step:
        yield f"goes on after step {step:,} of {config.train.epochs * steps_per_epoch:,}"
