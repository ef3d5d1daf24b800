"""Many runs on a Slurm cluster: an array of jobs, submitted and followed through submitit."""

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from mtvae_jax.config import from_dict, to_dict
from mtvae_jax.errors import UserError
from mtvae_jax.process import environment
from mtvae_jax.study.attempt import Outcome, attempt
from mtvae_jax.study.processes import python_path
from mtvae_jax.training.loop import Stopped

_ARRAY = 1000  # jobs; Slurm's own limit is 1001 unless a cluster has another
_POLL_SECONDS = 15.0
_STOPPED = 75


def on_slurm(tasks, logs, *, settings, jobs=None, stop_requested, cluster="slurm", poll_seconds=_POLL_SECONDS):
    """Trains each run in a job of its own: one task of one node.

    A job that comes to the end of its time or is preempted saves, and goes on when Slurm starts it again. Jobs belong
    to the cluster: they outlive this process, however it ends, and `scancel` ends them. The same study started again,
    or another one that shares runs with it, finds those that are queued or running and waits for them. What it finds
    them by, and submitit's own files, lie in the folder .slurm beside the runs, which all nodes must see.

    **Arguments:** `tasks`: of `tasks.make_tasks`; `logs`: folder of the runs' text files; `settings`: the config's
    `slurm`; `jobs`: at the same time, None: as many as Slurm starts; `stop_requested`: asked about twice a second;
    `cluster`: "local" for processes of this machine, all at once; `poll_seconds`: between two looks at the queue.
    **Returns:** an iterator of an `attempt.Outcome` for each task, in the order in which they are seen to end.
    **Raises:** `loop.Stopped`, the jobs go on; `UserError` where jobs cannot be submitted.
    """
    queue = _Queue(cluster)
    followed = [(task, queue.job_of(task)) for task in tasks]
    new = [task for task, job in followed if job is None]
    followed = [(task, job) for task, job in followed if job is not None]
    for first in range(0, len(new), _ARRAY):
        followed += queue.submit(new[first : first + _ARRAY], Path(logs), settings, jobs)

    unexplained = set()  # ids of jobs that left the queue without a result
    while followed:
        _wait(poll_seconds, stop_requested)
        active = queue.active()
        if active is None:
            continue
        still_active = []
        for task, job in followed:
            outcome = None if job.job_id in active else _outcome_of(task, job)
            if outcome is not None:
                yield outcome
            elif job.job_id in unexplained - active:
                yield Outcome(task.workdir, _lost(job), 0.0)
            else:
                still_active.append((task, job))
        followed = still_active
        # The file system may show a result later than the queue shows the end: jobs are lost after a second look.
        unexplained = {job.job_id for _, job in followed} - active


class _Queue:
    """What is known of the cluster's jobs, and how to add to them."""

    def __init__(self, cluster):
        self._submitit = _import_submitit()
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("config.where = slurm: there is no sbatch here; start the study on a node that has it")
        self._cluster = cluster
        self._at_start = self.active()
        if self._at_start is None:
            raise UserError("config.where = slurm: squeue does not answer; try again when Slurm does")

    def job_of(self, task):
        """Returns the run's job if it is queued or running, else None."""
        record = _record_of(task)
        job_id = record.read_text().strip() if record.exists() else None
        if job_id not in self._at_start:
            return None
        job = {"slurm": self._submitit.SlurmJob, "local": self._submitit.LocalJob}[self._cluster]
        return job(record.parent, job_id)

    def active(self):
        """Returns the ids of all jobs that are queued or running; None if Slurm does not say."""
        if self._cluster == "local":
            return _processes()
        asked = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        return set(answer.stdout.split()) if answer.returncode == 0 else None

    def submit(self, tasks, logs, settings, at_once):
        """Pairs of a task and its job, all of one array."""
        folder = _record_of(tasks[0]).parent
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            _record_of(task).unlink(missing_ok=True)
        runs = [_Run(task, logs / f"{task.workdir.name}.txt") for task in tasks]
        # A study may itself be started in a job, whose variables are not for those that it submits.
        helpers, complaint = self._submitit.helpers, io.StringIO()
        variables = helpers.environment_variables(PYTHONPATH=python_path())
        try:
            with helpers.clean_env(), variables, contextlib.redirect_stderr(complaint):
                jobs = self._executor(folder, settings, at_once or len(tasks)).submit_array(runs)
        except RuntimeError as error:
            reason = _last_line(complaint.getvalue()) or _last_line(str(error))
            raise UserError(f"config.slurm: {reason}") from error
        submitted = list(zip(tasks, jobs, strict=True))
        for task, job in submitted:
            _record_of(task).write_text(f"{job.job_id}\n")
        return submitted

    def _executor(self, folder, settings, at_once):
        # How many jobs a long run takes is nobody's business
        endless = {f"{self._cluster}_max_num_timeout": 1000}
        executor = self._submitit.AutoExecutor(folder, cluster=self._cluster, **endless)
        executor.update_parameters(
            name="mtvae",
            timeout_min=settings.minutes,
            cpus_per_task=settings.cpus,
            gpus_per_node=settings.gpus or None,
            slurm_partition=settings.partition,
            slurm_mem=settings.memory,
            slurm_array_parallelism=at_once,
            slurm_signal_delay_s=min(90, 30 * settings.minutes),  # seconds before the end, to save in
            slurm_srun_args=[f"--cpus-per-task={settings.cpus}"],  # since 22.05 a step does not inherit them
            slurm_additional_parameters={"requeue": True},
        )
        return executor


class _Run:
    """What a job does. submitit pickles it, and again when the job is to go on in another one."""

    def __init__(self, task, log):
        self._config, self._workdir = to_dict(task.config), task.workdir.absolute()
        self._log, self._record = Path(log).absolute(), _record_of(task)
        self._seconds = 0.0

    def __call__(self):
        import submitit

        if not self._is_mine(submitit.JobEnvironment().job_id):
            return None
        environment.configure()
        # submitit's handler of the preemption signal pickles this object, has the job requeued and exits; but at once,
        # in the middle of a step. Here it has to wait until the run has saved. SIGTERM alone comes from scancel, or
        # from a Slurm that requeues by itself.
        preempted = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
        received = []
        handlers = {
            number: signal.signal(number, lambda number, _: received.append(number))
            for number in (preempted, signal.SIGTERM, signal.SIGINT)
        }
        start = time.perf_counter()
        try:
            outcome = attempt(
                from_dict(self._config), self._workdir, self._log, stop_requested=lambda: bool(received)
            )
        except Stopped:
            self._seconds += time.perf_counter() - start
            if preempted in received:
                handlers[preempted](preempted, None)
            sys.exit(_STOPPED)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return outcome.error, self._seconds + outcome.seconds

    def checkpoint(self):
        """For submitit: what goes on in the next job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _is_mine(self, job_id):
        """Whether the run is this job's: a study that was killed while it submitted, or another one that submitted at
        the same time, may have left two jobs for a run, and two at once would ruin it."""
        for _ in range(60):  # seconds: the record is written after the submission
            named = self._record.read_text().strip() if self._record.exists() else ""
            if named:
                break
            time.sleep(1.0)
        return named == job_id


def _import_submitit():
    try:
        import submitit
    except ImportError as error:
        raise UserError('config.where = slurm: needs submitit; pip install "mtvae-jax[slurm]"') from error
    return submitit


def _record_of(task):
    """The file that names a run's job."""
    return task.workdir.absolute().parent / ".slurm" / f"{task.workdir.name}.job"


def _wait(seconds, stop_requested):
    end = time.monotonic() + seconds
    while True:
        if stop_requested():
            raise Stopped
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(0.5, left))


def _outcome_of(task, job):
    """How an ended job went, None where it left no result."""
    if not job.paths.result_pickle.exists():
        return Outcome(task.workdir, None, 0.0) if task.complete else None
    try:
        error, seconds = job.result()
    except Exception as failure:  # the job's own, or what its result cannot be read for
        trace = str(failure).split("-" * 22)
        return Outcome(task.workdir, f"{_last_line(trace[1 if len(trace) > 1 else 0])}; see {job.paths.stderr}", 0.0)
    return Outcome(task.workdir, error, seconds)


def _lost(job):
    with contextlib.suppress(OSError):
        said = _last_line(job.paths.stderr.read_text(errors="replace"))
        if said:
            return f"its job {job.job_id} ended without a result: {said}; see {job.paths.stderr}"
    return f"its job {job.job_id} ended without a result; see {job.paths.stderr}"


def _last_line(text):
    return " ".join(text.strip().splitlines()[-1:])


def _processes():
    """The ids of this machine's processes, which are those of submitit's local jobs too."""
    running = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if status.read_text().rsplit(") ", 1)[1][0] != "Z":  # ended, but not waited for
                running.add(status.parent.name)
    return running
