"""What a study says while it runs: a line when a run ends, with the time that is left."""

import statistics
import sys
import time

from mtvae_jax.process.progress import duration


class StudyProgress:
    """**Arguments:** `tasks`: to be done; `stream`: of text, standard output if None; `clock`: gives seconds."""

    def __init__(self, tasks, *, stream=None, clock=time.monotonic):
        self._waiting = {task.workdir: task for task in tasks}
        self._total = len(tasks)
        self._stream = sys.stdout if stream is None else stream
        self._clock, self._start = clock, clock()
        self._busy = 0.0  # seconds of all runs together
        self._clock, self._start = clock, clock()
        self._seconds = {}  # kind of run → of those that are done

    def done(self, outcome):
        """Tells how a run went."""
        task = self._waiting.pop(outcome.workdir)
        self._busy += outcome.seconds
        if outcome.error is None:
            self._seconds.setdefault(_kind(task), []).append(outcome.seconds)
        number = f"{self._total - len(self._waiting):{len(str(self._total))}d}/{self._total}"
        result = f"{outcome.seconds:.0f} s" if outcome.error is None else f"FAILED: {outcome.error}"
        left = self.seconds_left()
        after = f"; {duration(left)} left" if left else ""
        self._stream.write(f"{number}  {task.config.data.name}: {task.name}: {result}{after}\n")
        self._stream.flush()

    def seconds_left(self):
        """Estimated from runs of the same kind that are done, or from all of them, and from how many are trained at the
        same time; None before the first one."""
        if not self._seconds:
            return None
        of_all = statistics.mean(second for seconds in self._seconds.values() for second in seconds)
        waiting = (self._seconds.get(_kind(task)) for task in self._waiting.values())
        work = sum(of_all if seconds is None else statistics.mean(seconds) for seconds in waiting)
        return work * min(1.0, (self._clock() - self._start) / self._busy)


def _kind(task):
    return task.config.data.name, task.config.model.latent, task.config.model.method
