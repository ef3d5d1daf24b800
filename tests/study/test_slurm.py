"""Runs as jobs: what is submitted and how it is followed; on made-up commands of Slurm, submitit's local executor and,
where there is one, on a real cluster."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_collections import FrozenConfigDict

from mtvae_jax.errors import UserError
from mtvae_jax.study import slurm
from mtvae_jax.study.config import study_config
from mtvae_jax.study.slurm import on_slurm
from mtvae_jax.study.tasks import Task
from mtvae_jax.training.loop import Stopped
from mtvae_jax.workdir.metric_log import read_metrics

_MANY = 20  # epochs, so that a run is still under way when it is looked at


def never():
    return False


def wait_for(what, seconds=180):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


@pytest.fixture
def settings():
    return study_config().slurm


@pytest.fixture
def make_task(make_run, tmp_path):
    """A function (name, epochs) → `Task`, whose runs take seconds."""

    def make(name, epochs=2, **overrides):
        config = make_run("plain", train__epochs=epochs, model__hidden_dims=(8,), **overrides)
        return Task(name, config, tmp_path / "runs" / name)

    return make


def test_without_submitit_a_line_says_what_to_install(monkeypatch, settings, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r'^config.where = slurm: needs submitit; pip install "mtvae-jax\[slurm\]"$'):
        list(on_slurm([], tmp_path, settings=settings, stop_requested=never))


@pytest.fixture
def submitit():
    return pytest.importorskip("submitit")


def test_where_there_is_no_slurm_a_line_says_so(submitit, monkeypatch, settings, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^config.where = slurm: there is no sbatch here; start the study on a node"):
        list(on_slurm([], tmp_path, settings=settings, stop_requested=never))


class FakeSlurm:
    """Commands that keep what was submitted, as job 7, and answer what the test says."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.command("sbatch", f'cp "$1" {folder}/script; echo 1 >> {folder}/count; echo Submitted batch job 7')
        self.command("srun", "")
        self.queue()

    def command(self, name, script):
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    def queue(self, *ids):
        """These jobs are queued or running."""
        temporary = self.folder / "new"
        self.command(temporary.name, f"printf '%s\\n' {' '.join(ids)}")
        temporary.rename(self.folder / "squeue")

    @property
    def script(self):
        return (self.folder / "script").read_text().splitlines()

    @property
    def submissions(self):
        return len((self.folder / "count").read_text().split())


@pytest.fixture
def cluster(submitit, monkeypatch, tmp_path):
    fake = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(fake.folder), prepend=os.pathsep)
    return fake


@pytest.fixture
def tasks(tmp_path):
    config = FrozenConfigDict({"train": {"epochs": 2}, "generation": {"num_samples": 0}})
    return [Task(name, config, tmp_path / "runs" / name) for name in ("a", "b", "c")]


@pytest.fixture
def follow(settings, tmp_path):
    """A function (tasks, …) that submits and follows, looking often."""

    def start(tasks, **options):
        options = {"settings": settings, "stop_requested": never, "poll_seconds": 0.01, **options}
        return on_slurm(tasks, tmp_path / "logs", **options)

    return start


def write_result(task, job_id, result):
    """As submitit does at the end of a job."""
    (task.workdir.parent / ".slurm" / f"{job_id}_0_result.pkl").write_bytes(pickle.dumps(result))


def test_what_a_job_asks_slurm_for(cluster, tasks, settings, follow):
    settings.update(partition="long", minutes=90, cpus=6, gpus=2, memory="20GB")
    list(follow(tasks, jobs=2))
    assert {line.removeprefix("#SBATCH --") for line in cluster.script if line.startswith("#SBATCH")} >= {
        "array=0-2%2", "partition=long", "time=90", "cpus-per-task=6", "gpus-per-node=2", "mem=20GB",
        "requeue", "signal=USR2@90", "open-mode=append",
    }  # fmt: skip
    (step,) = [line for line in cluster.script if line.startswith("srun")]
    assert "--cpus-per-task=6" in step


def test_what_is_not_set_is_not_asked_for(cluster, tasks, settings, follow):
    settings.update(gpus=0, minutes=1)
    list(follow(tasks))
    script = "\n".join(cluster.script)
    assert "gpus" not in script
    assert "partition" not in script
    assert "--array=0-2%3" in script
    assert "--signal=USR2@30" in script  # and not at the very start of its minute


def test_outcomes_come_as_jobs_leave_the_queue_also_one_lost_and_one_broken(cluster, tasks, follow):
    jobs = [["7_0", "7_1", "7_2"], ["7_0", "7_2"], ["7_2"], []]

    def ends_next(result):
        ended = set(jobs[0]) - set(jobs[1])
        jobs.pop(0)
        (job,) = ended
        if result is not None:
            write_result(tasks[int(job[-1])], job, result)
        cluster.queue(*jobs[0])

    def stop_requested():
        if not started:
            started.append(True)
            ends_next(("success", ("config.x: is wrong", 3.0)))
        return False

    started = []
    outcomes = follow(tasks, stop_requested=stop_requested)
    assert tuple(next(outcomes)) == (tasks[1].workdir, "config.x: is wrong", 3.0)

    folder = tasks[0].workdir.parent / ".slurm"
    (folder / "7_0_0_log.err").write_text("begins\nslurmstepd: error: Detected 1 oom_kill event\n")
    ends_next(None)
    lost = next(outcomes)
    assert lost.workdir == tasks[0].workdir
    said = "its job 7_0 ended without a result: slurmstepd: error: Detected 1 oom_kill event; see "
    assert lost.error == f"{said}{folder / '7_0_0_log.err'}"

    ends_next(("error", "Traceback:\n  somewhere\nModuleNotFoundError: No module named 'x'\n"))
    broken = next(outcomes)
    assert broken.workdir == tasks[2].workdir
    assert broken.error == f"ModuleNotFoundError: No module named 'x'; see {folder / '7_2_0_log.err'}"
    assert list(outcomes) == []


def test_a_study_that_was_stopped_finds_its_jobs_again_and_submits_only_what_is_lost(cluster, tasks, follow):
    cluster.queue("7_0", "7_1", "7_2")
    with pytest.raises(Stopped):
        list(follow(tasks, stop_requested=lambda: True))
    assert cluster.submissions == 1

    with pytest.raises(Stopped):
        list(follow(tasks, stop_requested=lambda: True))
    assert cluster.submissions == 1

    cluster.queue("7_0", "7_2")
    records, seen = tasks[0].workdir.parent / ".slurm", cluster.folder / "seen"
    cluster.command("sbatch", f'cp "$1" {cluster.folder}/script; ls {records} > {seen}; echo Submitted batch job 8')
    with pytest.raises(Stopped):
        list(follow(tasks, stop_requested=lambda: True))
    assert not any("--array" in line for line in cluster.script)  # a single job
    # Nothing names the old job any more when the new one may begin
    assert {line for line in seen.read_text().split() if line.endswith(".job")} == {"a.job", "c.job"}
    assert [(records / f"{name}.job").read_text() for name in "abc"] == ["7_0\n", "8\n", "7_2\n"]


def test_a_queue_that_does_not_answer_for_a_while_loses_no_job(cluster, tasks, follow):
    asked = []

    def stop_requested():
        asked.append(True)
        if len(asked) == 1:
            cluster.command("squeue", "exit 1")
        if len(asked) == 9:
            for number, task in enumerate(tasks):
                write_result(task, f"7_{number}", ("success", (None, 1.0)))
            cluster.queue()
        return False

    outcomes = list(follow(tasks, stop_requested=stop_requested))
    assert [tuple(outcome) for outcome in outcomes] == [(task.workdir, None, 1.0) for task in tasks]

    cluster.command("squeue", "exit 1")
    with pytest.raises(UserError, match=r"^config.where = slurm: squeue does not answer; try again when Slurm does$"):
        list(follow(tasks))


def test_a_result_may_show_later_than_the_end_of_its_job(cluster, tasks, follow, monkeypatch):
    active, looks = slurm._Queue.active, []

    def look(queue):
        looks.append(True)
        if len(looks) == 3:  # the first was before the submission, the second saw no result
            for number, task in enumerate(tasks):
                write_result(task, f"7_{number}", ("success", (None, 1.0)))
        return active(queue)

    monkeypatch.setattr(slurm._Queue, "active", look)
    assert [outcome.error for outcome in follow(tasks)] == [None] * 3
    assert len(looks) == 3


def test_what_sbatch_refuses_is_told_in_its_own_words(cluster, tasks, follow, capsys):
    complaint = "sbatch: error: invalid partition specified: long"
    cluster.command("sbatch", f"echo '{complaint}' >&2; exit 1")
    with pytest.raises(UserError) as refused:
        list(follow(tasks))
    assert str(refused.value) == f"config.slurm: {complaint}"
    assert capsys.readouterr().err == ""


def test_a_job_that_the_runs_record_does_not_name_leaves_the_run_alone(submitit, tasks, monkeypatch):
    monkeypatch.setattr(slurm, "attempt", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(submitit.JobEnvironment, "__new__", lambda *_: SimpleNamespace(job_id="8"))
    run = slurm._Run(tasks[0], "log.txt")
    record = tasks[0].workdir.parent / ".slurm" / "a.job"
    record.parent.mkdir(parents=True)
    record.write_text("9\n")
    assert run() is None


def descendants(pid):
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [int(child) for child in children] + [other for child in children for other in descendants(child)]


def epochs_of(task):
    return len(read_metrics(task.workdir)) if (task.workdir / "metrics.jsonl").exists() else 0


def test_a_job_is_preempted_and_one_refused_while_the_study_is_stopped_and_started_again(
    submitit, make_task, follow, tmp_path
):
    long, wrong = make_task("long", epochs=_MANY), make_task("wrong", train__batch_size=100_000)

    def watch():
        return epochs_of(long) >= 2

    here = {"cluster": "local", "poll_seconds": 0.2}
    outcomes = follow([wrong, long], stop_requested=watch, **here)
    first = next(outcomes)
    assert first.workdir == wrong.workdir
    assert first.error.startswith("config.train.batch_size = 100000: must be at most")
    with pytest.raises(Stopped):
        next(outcomes)

    controller = int((tmp_path / "runs" / ".slurm" / "long.job").read_text())
    (before,) = descendants(controller)
    os.kill(before, signal.SIGUSR2)
    wait_for(lambda: descendants(controller) not in ([], [before]))
    assert not long.complete
    assert [tuple(outcome)[:2] for outcome in follow([long], **here)] == [(long.workdir, None)]
    assert int((tmp_path / "runs" / ".slurm" / "long.job").read_text()) == controller
    assert long.complete
    assert "goes on after step" in (tmp_path / "logs" / "long.txt").read_text()
    assert [record["epoch"] for record in read_metrics(long.workdir)] == list(range(1, _MANY + 1))


def slurm_answers():
    return shutil.which("squeue") is not None and subprocess.run(["squeue"], capture_output=True).returncode == 0


@pytest.mark.slurm
@pytest.mark.skipif("not slurm_answers()", reason="no Slurm here")
def test_on_a_real_cluster_a_job_is_requeued_and_another_cancelled(submitit, make_task, settings, follow, tmp_path):
    settings.update(gpus=0, cpus=1, minutes=5, memory="2GB")
    long, cancelled = make_task("long", epochs=_MANY), make_task("cancelled", epochs=_MANY)
    folder = tmp_path / "runs" / ".slurm"
    with pytest.raises(Stopped):
        list(follow([long, cancelled], stop_requested=lambda: epochs_of(long) and epochs_of(cancelled)))
    subprocess.run(["scancel", "--signal=USR2", (folder / "long.job").read_text().strip()], check=True)
    subprocess.run(["scancel", (folder / "cancelled.job").read_text().strip()], check=True)
    outcomes = {outcome.workdir.name: outcome.error for outcome in follow([long, cancelled])}
    assert outcomes.pop("cancelled").startswith("its job ")
    assert outcomes == {"long": None}
    assert "goes on after step" in (tmp_path / "logs" / "long.txt").read_text()
