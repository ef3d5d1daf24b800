"""Several runs trained side by side: the training step under `jax.vmap`, in one compiled program.

Each run keeps the files that it would have alone, and may be trained alone before and after. Its results are those that
it would have alone up to rounding, as they are on another number of devices.
"""

import contextlib

import jax
import numpy as np

from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.process import environment
from mtvae_jax.process.devices import first_copy, replicate
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.divergence import is_sound, not_finite
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.first_stage import FirstStage, complete
from mtvae_jax.training.loop import SECONDS_PER_CALL, Fitted, Stopped, count_steps
from mtvae_jax.training.recorder import Recorder
from mtvae_jax.training.step import TrainingProgram, per_device
from mtvae_jax.workdir.directory import open_workdir


@environment.own_numbers
def train_replicas(jobs, dataset, *, stop_requested=lambda: False):
    """Trains the models of several configs, which differ in nothing but seed and knobs, as `first_stage.train` does.

    **Arguments:** `jobs`: of (config, workdir, stream), as `first_stage.train` takes them; `dataset`: of all.
    **Returns:** of each its summary, None for one that went wrong and is to be trained alone.
    **Raises:** as `first_stage.train`.
    """
    with contextlib.ExitStack() as locks:
        for config, workdir, _ in jobs:
            locks.enter_context(open_workdir(workdir, config, dataset))
        summaries = [complete(config, workdir) for config, workdir, _ in jobs]
        left = [row for row, summary in enumerate(summaries) if summary is None]
        if not left:
            return summaries
        stages, runs = [], []
        for config, workdir, stream in (jobs[row] for row in left):
            stages.append(FirstStage(config, dataset, workdir))
            steps_per_epoch = count_steps(config.train.batch_size, len(dataset.train), "train")
            runs.append(Recorder(
                stages[-1].objective, workdir, steps_per_epoch, clock=Clock(side_by_side=len(left)), stream=stream,
                **stages[-1].recorder_arguments,
            ))
        splits = {"images": dataset.train}, {"images": dataset.validation}
        fitted = fit_replicas(runs, *splits, stop_requested=stop_requested)
        for row, stage, run, result in zip(left, stages, runs, fitted, strict=True):
            if result is not None:
                summaries[row] = stage.summarize(result, run.clock)
        return summaries


def fit_replicas(runs, data, validation, *, stop_requested=lambda: False):
    """Trains runs whose objectives differ in nothing but their seed and their knobs, as `loop.fit` trains one.

    A run whose numbers go wrong is taken out, and the others go on: trained alone, it says where they did.

    **Arguments:** `runs`: of `Recorder`, not opened yet, with equally many steps behind them; `data`, `validation`:
    arrays [N, …], of all; `stop_requested`: asked about once a second.
    **Returns:** of each run a `Fitted`, None for one that was taken out.
    **Raises:** `UserError`; `Stopped` after saving all of them, where `stop_requested` said so.
    """
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(run)
        return _fit(runs, data, validation, stop_requested)


def _fit(runs, data, validation, stop_requested):
    objectives = [run.objective for run in runs]
    settings, num_images = objectives[0].settings, len(jax.tree.leaves(data)[0])
    steps_per_epoch = count_steps(settings.batch_size, num_images, "train")

    # Restore
    states = [run.restore() for run in runs]
    step = int(states[0].step)
    if settings.patience is not None:
        raise ValueError("runs with patience end at epochs of their own, and are not side by side")
    if any(state.step != step for state in states):
        raise ValueError(f"runs that have taken {[int(state.step) for state in states]} steps are not side by side")
    for run in runs:
        run.say(f"{len(runs)} runs side by side")

    # Compile
    state, knobs = replicate(_rows(states)), replicate(_rows([objective.knobs for objective in objectives]))
    with _all(run.clock.compiling() for run in runs):
        program = TrainingProgram(objectives[0], state, knobs, data, replicates=True)
    pick = jax.pmap(lambda tree, row: jax.tree.map(lambda leaf: leaf[row], tree), axis_name=BATCH_AXIS)
    evaluate = Evaluator(objectives[0])
    evaluators = [evaluate, *(evaluate.of(objective) for objective in objectives[1:])]
    batches = evaluate.place(validation)
    running = dict(enumerate(runs))

    def stop():
        for run in running.values():
            run.close()
        raise Stopped

    steps_per_call = program.whole_calls(1)
    for epoch in range(step // steps_per_epoch + 1, settings.epochs + 1):
        # Train
        while step < epoch * steps_per_epoch:
            num_steps = min(steps_per_call, epoch * steps_per_epoch - step)
            with _all(run.clock.training(num_steps * settings.batch_size) for run in running.values()):
                state = program(state, num_steps)
                sums = first_copy(state.metrics)
            step += num_steps
            call_seconds = next(iter(running.values())).clock.call_seconds
            steps_per_call = program.whole_calls(max(1, round(num_steps * SECONDS_PER_CALL / call_seconds)))
            metrics = {row: run.within_epoch(epoch, step, _row(sums, row)) for row, run in running.items()}
            if step < epoch * steps_per_epoch and stop_requested():
                at_rest = first_copy(state)
                for row, run in running.items():
                    if is_sound(_row(at_rest, row)):
                        run.save(_row(at_rest, row))
                stop()

        # Evaluate, save and report
        started = {row: evaluators[row].start(pick(state.eval_variables, per_device(row)), batches) for row in running}
        at_rest = first_copy(state)
        for row, run in list(running.items()):
            found = evaluators[row].finish(started[row])
            metrics[row] |= {f"val/{name}": value for name, value in found.items()}
            if not_finite(metrics[row]) or not is_sound(_row(at_rest, row)):
                run.say(f"not finite by step {step:,}: goes on alone")
                running.pop(row).close()
                continue
            run.end_epoch(epoch, metrics[row], _row(at_rest, row))
        if not running:
            break
        if epoch < settings.epochs and stop_requested():
            for row, run in running.items():
                run.save(_row(at_rest, row), metrics[row])
            stop()

    # Finish with the best
    at_rest = first_copy(state)
    return [
        Fitted(*run.finish(_row(at_rest, row)), evaluators[row], step) if row in running else None
        for row, run in enumerate(runs)
    ]


def _rows(trees):
    """Host trees, one a run → one tree of leaves [R, …]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _row(tree, row):
    """The reverse, of one run."""
    return jax.tree.map(lambda leaf: leaf[row, ...], tree)


@contextlib.contextmanager
def _all(contexts):
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield
