"""What a run keeps on disk and what it says while it is trained, and where it goes on."""

import contextlib
import math
import time
from pathlib import Path

import jax
import numpy as np

from mtvae_jax.errors import UserError
from mtvae_jax.process import distributed
from mtvae_jax.process.progress import Progress
from mtvae_jax.training.divergence import forget
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import init_state
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.metric_log import MetricLog


class Recorder:
    """The checkpoints, metrics, figures and lines of a run. As a context manager it leaves no file open.

    **Arguments:** `objective`: an `Objective` or a `PriorObjective`; `directory`: for checkpoints, metrics and events;
    `clock`: a `Clock`; `start`: function of the state at step 0 that gives the state to start from; `headline`: lines
    to say first; `draw(variables, log, epoch=…)`: makes figures, every `draw.every` epochs and at the end, of the best
    epoch; `stream`: where progress goes, standard output if None; `checkpoint_seconds`: that pass at least between the
    checkpoints of two epochs. The first epoch, the last and the best are saved whatever they are: the best one before
    any that comes later; `trackers`: names of `TRACKERS` that show what is measured.
    """

    def __init__(
        self, objective, directory, steps_per_epoch, *, clock, start=None, headline=(), draw=None, stream=None,
        checkpoint_seconds=0.0, trackers=(),
    ):  # fmt: skip
        self.objective, self.directory, self.clock = objective, Path(directory), clock
        self._steps_per_epoch, self._epochs = steps_per_epoch, objective.settings.epochs
        self._start, self._headline, self._draw, self._stream = start, headline, draw, stream
        self._checkpoint_seconds, self._saved_at, self._saved_step = checkpoint_seconds, -math.inf, None
        self._best_unsaved, self._trackers = None, trackers
        self._open = contextlib.ExitStack()

    def restore(self):
        """Opens the files, and restores what was saved, if anything was. **Returns:** the state to go on from, host
        arrays."""
        self._checkpoints = Checkpoints(self.directory / "checkpoints")
        self._open.callback(self._checkpoints.close)
        state = self._fresh_state()
        restored, records = self._checkpoints.restore_latest(state), None
        if restored is not None:
            state, records = restored.state, restored.record.get("epochs")
            self.clock.resume(restored.record)
        elif self._start is not None:
            state = self._start(state)
        step = int(state.step)
        epoch = step // self._steps_per_epoch
        self._log = MetricLog(self.directory, trackers=self._trackers, resume_epoch=epoch, records=records)
        self._open.callback(self._log.close)
        self._progress = Progress(total_epochs=self._epochs, steps_per_epoch=self._steps_per_epoch, stream=self._stream)
        self._open.callback(self._progress.close)
        for line in (*self._headline, *(restored.notes if restored else ()), *self._log.notes):
            self.say(line)
        if step:
            self.say(f"goes on after step {step:,} of {self._epochs * self._steps_per_epoch:,}")
        self._best = min((record["val/loss"] for record in self._log.records), default=math.inf)
        return _on_host(state)

    @property
    def epochs(self):
        """How many have ended."""
        return len(self._log.records)

    @property
    def out_of_patience(self):
        """Whether so many epochs have ended since the best as `patience` allows. A function of what the checkpoint
        has, so that a run that goes on ends where it would have ended undisturbed."""
        patience, losses = self.objective.settings.patience, [record["val/loss"] for record in self._log.records]
        return patience is not None and bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    def say(self, line):
        self._progress.message(line)

    def within_epoch(self, epoch, step, sums):
        """Shows how far training is. **Returns:** the metrics of the epoch so far, from the sums of its terms."""
        step_in_epoch = step - (epoch - 1) * self._steps_per_epoch
        means = {name: total / step_in_epoch for name, total in sums.items()}
        metrics = {f"train/{name}": value for name, value in self.objective.metrics(means).items()}
        speed = self.clock.images_per_second
        self._progress.update(epoch=epoch, step_in_epoch=step_in_epoch, metrics=metrics, images_per_second=speed)
        return metrics

    def end_epoch(self, epoch, metrics, state):
        """Shows the result of an epoch, and saves it where it is time to.

        **Arguments:** `metrics`: of training and validation; `state`: host arrays.
        """
        # Save: the log first, because the checkpoint says how much of the log counts
        step, speed = int(state.step), self.clock.images_per_second
        self._log.write({"epoch": epoch, "step": step, "images_per_second": speed} | metrics)
        is_best, self._best = metrics["val/loss"] < self._best, min(self._best, metrics["val/loss"])
        if is_best:
            self._best_unsaved = state, self._record(), metrics
        waited = distributed.from_main(time.monotonic() - self._saved_at >= self._checkpoint_seconds)
        if waited or epoch == self._epochs or self.out_of_patience:
            self.save(state, metrics)
        forget(self.directory, step)

        # Report
        warnings = [found.short for found in self.objective.findings(metrics)]
        self._progress.epoch_end(
            epoch=epoch, metrics=metrics, images_per_second=speed, is_best=is_best, warnings=warnings
        )
        due = self._draw is not None and (epoch % self._draw.every == 0 or epoch == 1)
        if due and epoch < self._epochs:
            self._picture(state.eval_variables, epoch)

    def _picture(self, variables, epoch):
        """Draws the figures, or says why not: no training ends for a picture."""
        try:
            distributed.on_main(self._draw_in_own_style)(variables, epoch)
        except Exception as error:
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.say(f"WARNING: no figures of epoch {epoch}: {' '.join(reason.split())[:300]}")

    def _draw_in_own_style(self, variables, epoch):
        from mtvae_jax.figures import own_style  # matplotlib takes a second

        with own_style():
            self._draw(variables, self._log, epoch=epoch)

    def save(self, state, metrics=None):
        """Saves a host state, unless it is, with the validation metrics of the epoch that it ends, None in the middle
        of one. What was best until then is saved before it."""
        if int(state.step) == self._saved_step:
            return
        if self._best_unsaved is not None and self._best_unsaved[0].step < state.step:
            self._write(*self._best_unsaved)
        self._write(state, self._record(), metrics)

    def _write(self, state, record, metrics):
        self._checkpoints.save(state, record, metrics=metrics)
        self._best_unsaved, self._saved_at, self._saved_step = None, time.monotonic(), int(state.step)

    def _record(self):
        """What is saved beside a state: with the epochs so far a damaged metrics.jsonl is written anew."""
        return {**self.clock.record(), "epochs": self._log.records}

    def last_good(self):
        """Returns what training can be repeated from, host arrays: the state that was saved last, or the one it began
        with.
        """
        if self._best_unsaved is not None:
            self._write(*self._best_unsaved)
        self._checkpoints.wait()
        state = self._fresh_state()
        if self._checkpoints.latest_step is not None:
            state, _ = self._checkpoints.restore(state, self._checkpoints.latest_step)
        elif self._start is not None:
            state = self._start(state)
        return _on_host(state)

    def finish(self, state):
        """Ends with the best epoch. **Arguments:** `state`: the last one, host arrays.

        **Returns:** the variables of the best epoch, host arrays; its record; the records of all epochs.
        """
        self._checkpoints.wait()
        best, _ = self._checkpoints.restore(state, self._checkpoints.best_step)
        records = self._log.records
        record = records[self._checkpoints.best_step // self._steps_per_epoch - 1]
        if self._draw is not None:
            self._picture(best.eval_variables, record["epoch"])
        self._checkpoints.prune()
        self.close()
        return best.eval_variables, record, records

    def _fresh_state(self):
        return init_state(self.objective, make_optimizer(self.objective.settings, self._steps_per_epoch))

    def close(self):
        """Waits until everything is on disk; closing again does nothing."""
        self._open.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        # In an error of this process alone the others of the run would not join in.
        if kind is not None and issubclass(kind, Exception) and jax.process_count() == 1:
            with contextlib.suppress(Exception):
                self.close()


def _on_host(state):
    """Host arrays, on all processes those of the main one."""
    leaves, structure = jax.tree.flatten(state)
    return jax.tree.unflatten(structure, distributed.from_main([np.asarray(leaf) for leaf in leaves]))
