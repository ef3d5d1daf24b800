"""The training loop of either stage: train, evaluate, save and report, epoch by epoch; go on where it stopped."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mtvae_jax import distributed
from mtvae_jax.checkpoints import Checkpoints
from mtvae_jax.errors import UserError
from mtvae_jax.evaluate import Evaluator
from mtvae_jax.metric_log import MetricLog
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.progress import Progress
from mtvae_jax.replication import first_replica, replicate, shard
from mtvae_jax.step import init_state, make_train_steps

# Training between two looks at the progress line and at a request to stop.
_SECONDS_PER_CALL = 1.0


class Stopped(Exception):
    """The run was asked to stop and has saved all it had; the same command goes on."""


class Fitted(NamedTuple):
    """**variables**: of the best epoch, host arrays; **record**: that epoch's metrics; **records**: those of every
    epoch; **evaluate**: the compiled `Evaluator`; **step**: the steps taken in all."""

    variables: Any
    record: dict
    records: list
    evaluate: Evaluator
    step: int


def fit(objective, data, validation, directory, *, section, clock, start=None, headline=(), draw=None,
        stop_requested=lambda: False, stream=None):
    """Trains to the last epoch, from wherever an earlier call stopped, and picks the epoch of the lowest val/loss.

    **Arguments:** `objective`: an `Objective` or a `PriorObjective`; `data`, `validation`: arrays [N, …] as it wants
    their rows; `directory`: for checkpoints, metrics and events; `section`: of the config, for messages; `clock`: a
    `Clock`; `start`: function of the state at step 0 that gives the state to start from; `headline`: lines to say
    first; `draw(variables, log, epoch=…)`: makes figures, every `figures_every` epochs and at the end, of the best
    epoch; `stop_requested`: asked about once a second; `stream`: where progress goes, standard output if None.
    **Returns:** `Fitted`.
    **Raises:** `UserError`; `Stopped` after saving, where `stop_requested` said so.
    """
    settings, directory = objective.settings, Path(directory)
    num_images = len(jax.tree.leaves(data)[0])
    steps_per_epoch = _steps_per_epoch(settings.batch_size, num_images, section)
    optimizer = make_optimizer(settings, steps_per_epoch)
    state = init_state(objective, optimizer)

    # Restore
    checkpoints = Checkpoints(directory / "checkpoints")
    if checkpoints.latest_step is not None:
        state, record = checkpoints.restore(state, checkpoints.latest_step)
        clock.resume(record)
    elif start is not None:
        state = start(state)
    step = int(state.step)
    log = MetricLog(directory, resume_epoch=step // steps_per_epoch)
    progress = Progress(total_epochs=settings.epochs, steps_per_epoch=steps_per_epoch, stream=stream)
    for line in headline:
        progress.message(line)
    if step:
        progress.message(f"goes on after step {step:,} of {settings.epochs * steps_per_epoch:,}")

    # Place everything on the devices and compile
    state, data = replicate(distributed.from_main(jax.tree.map(np.asarray, state))), replicate(data)
    knobs = replicate(objective.knobs)
    train_steps = make_train_steps(objective, optimizer, num_images)
    with clock.compiling():
        train_steps = train_steps.lower(state, knobs, data, _per_device(1)).compile()
    evaluate = Evaluator(objective)
    validation = evaluate.place(validation)

    best = min((record["val/loss"] for record in log.records), default=math.inf)
    steps_per_call = 1
    for epoch in range(step // steps_per_epoch + 1, settings.epochs + 1):
        # Train to the end of the epoch
        while step < epoch * steps_per_epoch:
            num_steps = min(steps_per_call, epoch * steps_per_epoch - step)
            with clock.training(num_steps * settings.batch_size):
                state = train_steps(state, knobs, data, _per_device(num_steps))
                sums = first_replica(state.metrics)
            step += num_steps
            # Timed by one process, or they would soon disagree
            steps_per_call = distributed.from_main(max(1, round(num_steps * _SECONDS_PER_CALL / clock.call_seconds)))
            step_in_epoch = step - (epoch - 1) * steps_per_epoch
            means = {name: total / step_in_epoch for name, total in sums.items()}
            metrics = {f"train/{name}": value for name, value in objective.metrics(means).items()}
            speed = clock.images_per_second
            progress.update(epoch=epoch, step_in_epoch=step_in_epoch, metrics=metrics, images_per_second=speed)
            if step < epoch * steps_per_epoch and distributed.any_process(stop_requested()):
                checkpoints.save(first_replica(state), clock.record())
                _stop(checkpoints, log, progress)

        # Evaluate
        metrics |= {f"val/{name}": value for name, value in evaluate(state.eval_variables, validation).items()}
        _check_finite(metrics, epoch, section)  # before saving: the last good state stays

        # Save: the log first, because the checkpoint says how much of the log counts
        log.write({"epoch": epoch, "step": step, "images_per_second": speed} | metrics)
        checkpoints.save(first_replica(state), clock.record(), metrics=metrics)

        # Report
        is_best, best = metrics["val/loss"] < best, min(best, metrics["val/loss"])
        progress.epoch_end(epoch=epoch, metrics=metrics, images_per_second=speed, is_best=is_best)
        due = draw is not None and (epoch % draw.every == 0 or epoch == 1)
        if due and epoch < settings.epochs:
            distributed.on_main(draw)(first_replica(state.eval_variables), log, epoch=epoch)
        if epoch < settings.epochs and distributed.any_process(stop_requested()):
            _stop(checkpoints, log, progress)

    # Finish with the best
    checkpoints.wait()
    best_state, _ = checkpoints.restore(first_replica(state), checkpoints.best_step)
    record = log.records[checkpoints.best_step // steps_per_epoch - 1]
    if draw is not None:
        distributed.on_main(draw)(best_state.eval_variables, log, epoch=record["epoch"])
    checkpoints.close()
    log.close()
    progress.close()
    return Fitted(best_state.eval_variables, record, log.records, evaluate, step)


def _check_finite(metrics, epoch, section):
    for name in ("train/loss", "val/loss"):
        if not math.isfinite(metrics[name]):
            raise UserError(
                f"epoch {epoch}: {name} is {metrics[name]}, training has diverged; lower "
                f"config.{section}.learning_rate or set config.{section}.clip_norm, with another --workdir if you "
                "named one"
            )


def _stop(checkpoints, log, progress):
    checkpoints.close()
    log.close()
    progress.close()
    raise Stopped


def _per_device(number):
    return shard(np.full((jax.device_count(),), number, np.int32))


def _steps_per_epoch(batch, num_images, section):
    devices = jax.device_count()
    if batch % devices:
        raise UserError(f"config.{section}.batch_size = {batch}: must be a multiple of the {devices} devices")
    if batch > num_images:
        raise UserError(
            f"config.{section}.batch_size = {batch}: must be at most {num_images}, the images of the training split"
        )
    return num_images // batch
