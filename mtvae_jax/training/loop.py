"""The training loop of either stage: train, evaluate, save and report, epoch by epoch; go on where it stopped."""

from typing import Any, NamedTuple

import jax

from mtvae_jax.errors import UserError
from mtvae_jax.process import distributed
from mtvae_jax.process.devices import first_copy, replicate
from mtvae_jax.training.divergence import evaluation_failure, is_finite, is_sound, not_finite, training_failure
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.recorder import Recorder
from mtvae_jax.training.step import TrainingProgram

# Training between two looks at the progress line and at a request to stop.
SECONDS_PER_CALL = 1.0


class Stopped(Exception):
    """The run was asked to stop and has saved all it had; the same command goes on."""


class Fitted(NamedTuple):
    """**variables**: of the best epoch, host arrays; **record**: that epoch's metrics; **records**: those of every
    epoch; **evaluate**: the compiled `Evaluator`; **step**: the steps of the epochs that have ended."""

    variables: Any
    record: dict
    records: list
    evaluate: Evaluator
    step: int


def fit(
    objective, data, validation, directory, *, section, clock, finish=False, stop_requested=lambda: False, **recorder
):
    """Trains to the last epoch, or to the end of its patience, from wherever an earlier call stopped, and picks the
    epoch of the lowest val/loss.

    **Arguments:** `objective`: an `Objective` or a `PriorObjective`; `data`, `validation`: arrays [N, …] as it wants
    their rows; `directory`: for checkpoints, metrics and events; `section`: of the config, for messages; `clock`: a
    `Clock`; `finish`: trains no further where an epoch has ended; `stop_requested`: asked about once a second;
    `recorder`: further arguments of a `Recorder`.
    **Returns:** `Fitted`.
    **Raises:** `UserError`, also where the training diverges; `Stopped` after saving, where `stop_requested` said so.
    """
    if jax.config.jax_disable_jit:
        raise UserError("JAX_DISABLE_JIT is set: training is one compiled program; unset it, or debug an objective")
    settings = objective.settings
    steps_per_epoch = count_steps(settings.batch_size, len(jax.tree.leaves(data)[0]), section)
    with Recorder(objective, directory, steps_per_epoch, clock=clock, **recorder) as run:
        # Restore
        state = run.restore()
        step = int(state.step)

        # Compile
        finish = finish and run.epochs > 0
        state, knobs = replicate(state), replicate(objective.knobs)
        with clock.compiling():
            program = None if finish else TrainingProgram(objective, state, knobs, data)
        evaluate = Evaluator(objective)
        batches = evaluate.place(validation)

        def failure(state, metrics):
            """Returns the error that says where the numbers of a host state or of its metrics went wrong."""
            run.say(f"not finite by step {step:,}: finding out where")
            good = run.last_good()
            run.close()
            if not is_sound(state):
                return training_failure(objective, good, program.advance, step, data, directory, section=section)
            return evaluation_failure(
                objective, state.eval_variables, metrics, validation, directory, split="validation", epoch=epoch,
                step=step, good=int(good.step), section=section,
            )

        steps_per_call = 1 if program is None else program.whole_calls(1)
        for epoch in range(step // steps_per_epoch + 1, settings.epochs + 1):
            if finish or run.out_of_patience:
                why = "as asked" if finish else f"no better one in the last {settings.patience}"
                run.say(f"ends after epoch {run.epochs} of {settings.epochs}: {why}")
                break

            # Train
            while step < epoch * steps_per_epoch:
                num_steps = min(steps_per_call, epoch * steps_per_epoch - step)
                with clock.training(num_steps * settings.batch_size):
                    state = program(state, num_steps)
                    sums = first_copy(state.metrics)
                step += num_steps
                if not is_finite(sums):
                    raise failure(first_copy(state), {})
                # Timed by one process, or they would soon disagree
                next_call = max(1, round(num_steps * SECONDS_PER_CALL / clock.call_seconds))
                steps_per_call = program.whole_calls(distributed.from_main(next_call))
                metrics = run.within_epoch(epoch, step, sums)
                if step < epoch * steps_per_epoch and distributed.any_process(stop_requested()):
                    at_rest = first_copy(state)
                    if not is_sound(at_rest):
                        raise failure(at_rest, {})
                    run.save(at_rest)
                    run.close()
                    raise Stopped

            # Evaluate
            metrics |= {f"val/{name}": value for name, value in evaluate(state.eval_variables, batches).items()}
            at_rest = first_copy(state)
            if not_finite(metrics) or not is_sound(at_rest):
                raise failure(at_rest, metrics)

            # Save and report
            run.end_epoch(epoch, metrics, at_rest)
            if epoch < settings.epochs and distributed.any_process(stop_requested()):
                run.save(at_rest, metrics)
                run.close()
                raise Stopped

        # Finish with the best
        return Fitted(*run.finish(first_copy(state)), evaluate, step - step % steps_per_epoch)


def count_steps(batch, num_images, section):
    """Counts the steps of an epoch.

    **Arguments:** `batch`: its size; `num_images`: of the training split; `section`: of the config.
    **Raises:** `UserError` for a batch that is too large, or that the devices cannot share.
    """
    devices = jax.device_count()
    if batch % devices:
        raise UserError(f"config.{section}.batch_size = {batch}: must be a multiple of the {devices} devices")
    if batch > num_images:
        raise UserError(
            f"config.{section}.batch_size = {batch}: must be at most {num_images}, the images of the training split"
        )
    return num_images // batch
