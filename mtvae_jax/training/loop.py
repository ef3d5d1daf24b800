"""The training loop of either stage, of one run or of several side by side: train, evaluate, save and report, epoch by
epoch; go on where it stopped."""

import contextlib
from typing import Any, NamedTuple

import jax

from mtvae_jax.errors import UserError
from mtvae_jax.process import distributed
from mtvae_jax.training.divergence import evaluation_failure, is_finite, is_sound, not_finite, training_failure
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.lanes import Lanes
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.trainee import Trainee

# Training between two looks at the progress line and at a request to stop.
_SECONDS_PER_CALL = 1.0


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


def fit(objective, data, validation, directory, *, section, finish=False, stop_requested=lambda: False, **trainee):
    """Trains to the last epoch, or to the end of its patience, from wherever an earlier call stopped, and picks the
    epoch of the lowest val/loss.

    **Arguments:** `objective`, `directory` and the rest: of a `Trainee`; the others as `fit_side_by_side`.
    **Returns:** `Fitted`.
    **Raises:** `UserError`; `Stopped` after saving, where `stop_requested` said so.
    """
    run = Trainee(objective, directory, **trainee)
    (result,) = fit_side_by_side(
        [run], data, validation, section=section, finish=finish, stop_requested=stop_requested
    )
    if isinstance(result, UserError):
        raise result
    return result


def fit_side_by_side(trainees, data, validation, *, section, finish=False, stop_requested=lambda: False):
    """The same for several runs, in one compiled program. Each keeps the files that it would have alone, and may be
    trained alone before and after.

    Its results are those that it would have alone up to rounding: sums are taken in another order, as they are on
    another number of devices. A run that diverges is taken out, and the others go on.

    **Arguments:** `trainees`: objectives that differ in nothing but their seed and their knobs, and equally many steps
    behind them; `data`, `validation`: arrays [N, …] as the objectives want their rows, of all runs, so that they cannot
    be different folds; `section`: of the config, for messages; `finish`: trains no further where an epoch has ended;
    `stop_requested`: asked about once a second.
    **Returns:** of each run a `Fitted`, or the `UserError` that says how it diverged.
    **Raises:** `UserError`; `Stopped` after saving all of them, where `stop_requested` said so.
    """
    with contextlib.ExitStack() as stack:
        for trainee in trainees:
            stack.enter_context(trainee)
        return _fit(trainees, data, validation, section, finish, stop_requested)


def _fit(trainees, data, validation, section, finish, stop_requested):
    if jax.config.jax_disable_jit:
        raise UserError("JAX_DISABLE_JIT is set: training is one compiled program; unset it, or debug an objective")
    objectives = [trainee.objective for trainee in trainees]
    settings, num_images = objectives[0].settings, len(jax.tree.leaves(data)[0])
    steps_per_epoch = count_steps(settings.batch_size, num_images, section)

    # Restore
    optimizer = make_optimizer(settings, steps_per_epoch)
    states = [trainee.begin(optimizer, steps_per_epoch) for trainee in trainees]
    step = int(states[0].step)
    if any(state.step != step for state in states):
        raise ValueError(f"runs that have taken {[int(state.step) for state in states]} steps are not side by side")
    if len(trainees) > 1:
        if settings.patience is not None:
            raise ValueError("runs with patience end at epochs of their own, and are not side by side")
        for trainee in trainees:
            trainee.say(f"{len(trainees)} runs side by side")

    # Place everything on the devices and compile
    lanes = Lanes(objectives, optimizer, states, data)
    del states
    finish = finish and all(trainee.epochs for trainee in trainees)
    with _all(trainee.clock.compiling() for trainee in trainees):
        if not finish:
            lanes.compile()
    evaluate = Evaluator(objectives[0])
    evaluators = [evaluate, *(evaluate.of(objective) for objective in objectives[1:])]
    batches = evaluate.place(validation)
    running, results = dict(enumerate(trainees)), [None] * len(trainees)

    def diverged(lane, epoch, state, metrics):
        """Takes out a run whose host state or metrics are not finite; what it saved before them stays."""
        trainee = running.pop(lane)
        trainee.say(f"not finite by step {step:,}: finding out where")
        objective, good, directory = trainee.objective, trainee.last_good(), trainee.directory
        if is_sound(state):
            results[lane] = evaluation_failure(
                objective, state.eval_variables, metrics, validation, directory, split="validation", epoch=epoch,
                step=int(state.step), good=int(good.step), section=section,
            )
        else:
            def advance(state, num_steps):
                return lanes.advance(lane, state, num_steps)

            results[lane] = training_failure(objective, good, advance, step, data, directory, section=section)
        trainee.close()

    steps_per_call = 1
    for epoch in range(step // steps_per_epoch + 1, settings.epochs + 1):
        if finish or any(trainee.out_of_patience for trainee in running.values()):
            for trainee in running.values():
                trainee.say(f"ends after epoch {trainee.epochs} of {settings.epochs}: "
                            + ("as asked" if finish else f"no better one in the last {settings.patience}"))
            break

        # Train to the end of the epoch
        while step < epoch * steps_per_epoch:
            num_steps = min(steps_per_call, epoch * steps_per_epoch - step)
            with _all(trainee.clock.training(num_steps * settings.batch_size) for trainee in running.values()):
                sums = lanes.train(num_steps)
            step += num_steps
            for lane in [lane for lane in running if not is_finite(sums[lane])]:
                diverged(lane, epoch, lanes.at_rest()[lane], {})
            if not running:
                return results
            # Timed by one process, or they would soon disagree
            call_seconds = next(iter(running.values())).clock.call_seconds
            steps_per_call = distributed.from_main(max(1, round(num_steps * _SECONDS_PER_CALL / call_seconds)))
            metrics = {lane: trainee.within_epoch(epoch, step, sums[lane]) for lane, trainee in running.items()}
            if step < epoch * steps_per_epoch and distributed.any_process(stop_requested()):
                at_rest = lanes.at_rest()
                bad = [lane for lane in running if not is_sound(at_rest[lane])]
                for lane in running.keys() - bad:
                    running[lane].save(at_rest[lane])
                for lane in bad:
                    diverged(lane, epoch, at_rest[lane], {})
                if not running:
                    return results
                _stop(running)

        # Evaluate
        for lane in running:
            found = evaluators[lane](lanes.eval_variables(lane), batches)
            metrics[lane] |= {f"val/{name}": value for name, value in found.items()}

        # Save and report; what has diverged waits until the others are safe
        at_rest = lanes.at_rest()
        bad = [lane for lane in running if not_finite(metrics[lane]) or not is_sound(at_rest[lane])]
        for lane in running.keys() - bad:
            running[lane].end_epoch(epoch, metrics[lane], at_rest[lane])
        for lane in bad:
            diverged(lane, epoch, at_rest[lane], metrics[lane])
        if not running:
            return results
        if epoch < settings.epochs and distributed.any_process(stop_requested()):
            _stop(running)

    # Finish with the best
    at_rest = lanes.at_rest()
    for lane, trainee in running.items():
        results[lane] = Fitted(*trainee.finish(at_rest[lane]), evaluators[lane], step - step % steps_per_epoch)
    return results


def _stop(running):
    for trainee in running.values():
        trainee.close()
    raise Stopped


@contextlib.contextmanager
def _all(contexts):
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def count_steps(batch, num_images, section):
    """Of an epoch. **Arguments:** `batch`: its size; `num_images`: of the training split; `section`: of the config.

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
