"""Many runs at the same time: a process a device, each with one run at a time."""

import collections
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import mtvae_jax
from mtvae_jax.config import to_dict
from mtvae_jax.errors import UserError
from mtvae_jax.study.attempt import Outcome
from mtvae_jax.training.loop import Stopped

_PROGRAM = ("-m", "mtvae_jax.study.worker")
_POLL_SECONDS = 0.5


def in_processes(tasks, logs, *, jobs=None, stop_requested):
    """Trains each run in one of a few processes, so that one which takes its process down takes no other with it.

    They save and end when this process does, however it ends.

    **Arguments:** `tasks`: of `tasks.make_tasks`; `logs`: folder of the text files of runs and processes; `jobs`:
    processes, None: see `places`; `stop_requested`: asked twice a second.
    **Returns:** an iterator of an `attempt.Outcome` for each task, in the order in which they end.
    **Raises:** `loop.Stopped` once all have saved; `UserError` where a process cannot start.
    """
    waiting, logs = collections.deque(tasks), Path(logs)
    logs.mkdir(parents=True, exist_ok=True)
    workers = [_Worker(place, logs, number) for number, place in enumerate(places(jobs)[: len(waiting)])]
    left = len(waiting)
    try:
        for worker in workers:
            worker.begin()
        while left:
            heard = _those_that_speak(workers)
            if stop_requested():
                raise Stopped
            for worker in heard:
                outcome = worker.hear()
                if worker.ready and waiting:
                    worker.give(waiting)
                elif worker.ready:
                    worker.release()
                elif worker.process is None and waiting:
                    worker.begin()
                if outcome is not None:
                    left -= 1
                    yield outcome
    finally:
        for worker in workers:
            worker.release()
        for worker in workers:
            worker.join()


class Place(NamedTuple):
    """Where a process runs. **environment**: what it has besides this one's; **cores**: None for all."""

    environment: dict
    cores: list | None = None


def places(jobs=None):
    """Returns a `Place` for each process: a GPU, or a share of the cores.

    **Arguments:** `jobs`: how many, None: one a GPU, or one a core, which together train more a second than all
    cores do on one run.
    """
    gpus = _gpus()
    if gpus:
        jobs = jobs or len(gpus)
        # Of several on a GPU the first would take most of its memory
        shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if jobs > len(gpus) else {}
        return [Place({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} | shared) for i in range(jobs)]
    if not hasattr(os, "sched_getaffinity"):
        return [Place({})] * (jobs or os.cpu_count())
    cores = sorted(os.sched_getaffinity(0))
    jobs = jobs or len(cores)
    bounds = [i * len(cores) // jobs for i in range(jobs + 1)]
    return [Place({}, cores[bounds[i] : max(bounds[i] + 1, bounds[i + 1])]) for i in range(jobs)]


def python_path():
    """Returns the PYTHONPATH with which another process finds this package, also in a clone that was never installed.
    """
    return os.pathsep.join(filter(None, [str(Path(mtvae_jax.__file__).parent.parent), os.environ.get("PYTHONPATH")]))


def _gpus():
    """Their names for CUDA_VISIBLE_DEVICES."""
    # Asked in another process: this one would take the memory that the runs need.
    program = "import jax; print(sum(device.platform == 'gpu' for device in jax.local_devices()))"
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    count = int(asked.stdout) if asked.returncode == 0 else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(i) for i in range(count)])[:count]


def _those_that_speak(workers):
    """The workers with something to hear, be it that they have ended; after half a second there may be none."""
    streams = {worker.process.stdout: worker for worker in workers if worker.process is not None}
    return [streams[stream] for stream in select.select(list(streams), [], [], _POLL_SECONDS)[0]]


class _Worker:
    """A place, and the process that is there now: None, not yet ready, ready, or busy with a task."""

    def __init__(self, place, logs, number):
        self._place, self._logs = place, logs
        self._log = logs / f"process-{number}.txt"
        self.process = self._task = None

    def begin(self):
        cores = self._place.cores
        self.ready, self._has_started = False, False
        with open(self._log, "ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, *_PROGRAM, *([",".join(map(str, cores))] if cores else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # what has been sent is seen by `select`
                env=os.environ | self._place.environment | {"PYTHONPATH": python_path()},
                start_new_session=True,  # Ctrl-C is for the parent
            )

    def give(self, waiting):
        """Sends the first of the tasks, unless the process has just died, which it will be heard of."""
        task = waiting[0]
        log = self._logs / f"{task.workdir.name}.txt"
        run = {"config": to_dict(task.config), "workdir": str(task.workdir), "log": str(log)}
        self.ready = False
        try:
            self.process.stdin.write(json.dumps(run).encode() + b"\n")
        except BrokenPipeError:
            return
        self._task, self._since = waiting.popleft(), time.perf_counter()

    def hear(self):
        """Returns an `Outcome`, or None where the process became ready or ended without a task."""
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return self._ended()
        message = json.loads(line)
        self.ready = "ready" in message
        if self.ready:
            self._has_started = True
            return None
        return self._outcome(message["error"], message["seconds"])

    def release(self):
        """Ends the input: an idle process ends, a busy one saves first."""
        if self.process is not None:
            self.ready = False
            self.process.stdin.close()

    def join(self):
        if self.process is not None:
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def _ended(self):
        how = _how(self.process.wait())
        self.ready = False
        self.join()
        if not self._has_started:
            with open(self._log, "rb") as log:
                log.seek(self._log_start)
                last = log.read().decode(errors="replace").strip().splitlines()[-1:]
            raise UserError(f"{self._log}: a process for runs cannot start, {': '.join([how, *last])}")
        if self._task is None:
            return None
        return self._outcome(f"its process ended unexpectedly, {how}; see {self._log}", None)

    def _outcome(self, error, seconds):
        task, self._task = self._task, None
        return Outcome(task.workdir, error, time.perf_counter() - self._since if seconds is None else seconds)


def _how(status):
    if status >= 0:
        return f"exit status {status}"
    return f"signal {-status}" + (", often for want of memory" if status == -9 else "")
