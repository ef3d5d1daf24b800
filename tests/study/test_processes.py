"""Runs in processes: each is answered for once, whatever becomes of its process, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import FrozenConfigDict
from small_runs import ROOT

from mtvae_jax.config import to_dict
from mtvae_jax.errors import UserError
from mtvae_jax.study import processes
from mtvae_jax.study.processes import in_processes, places
from mtvae_jax.study.tasks import Task
from mtvae_jax.training.loop import Stopped

_MANY = 3000  # epochs, of a run that is meant to be ended before


def never():
    return False


def children(pid):
    """The ids of a process' own processes, with those that have ended and were not waited for."""
    ids = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for child in ids.split()]


def wait_for(what, seconds=180):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    before = children(os.getpid())
    yield
    assert set(children(os.getpid())) <= set(before)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A function (names, jobs, stop_requested) that gives the runs of these names to fake workers."""
    monkeypatch.setattr(processes, "_PROGRAM", [str(ROOT / "tests" / "programs" / "fake_worker.py")])
    monkeypatch.setattr(processes, "_gpus", list)

    def start(names, jobs=2, stop_requested=never):
        tasks = [Task(name, FrozenConfigDict({}), tmp_path / name) for name in names]
        return in_processes(tasks, tmp_path / "logs", jobs=jobs, stop_requested=stop_requested)

    return start


def by_name(outcomes):
    outcomes = list(outcomes)
    result = {outcome.workdir.name: outcome.error for outcome in outcomes}
    assert len(result) == len(outcomes)
    return result


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_each_run_is_answered_for_once(fake, jobs):
    names = ["fine-0", "refused-0", "fine-1", "fine-2", "refused-1"]
    errors = by_name(fake(names, jobs))
    assert errors == {name: None if name.startswith("fine") else "config.x: is wrong" for name in names}


def test_no_runs_are_no_outcomes(fake):
    assert list(fake([])) == []


def test_outcomes_come_in_the_order_in_which_runs_end_with_the_seconds_that_they_took(fake):
    outcomes = fake(["long-0", "fine-0", "refused-0"])
    assert [(next(outcomes).workdir.name, next(outcomes).seconds)] == [("fine-0", 0.5)]
    outcomes.close()


def test_a_process_that_dies_fails_its_run_in_one_line_and_the_rest_goes_on(fake, tmp_path):
    errors = by_name(fake(["killed-0", "fine-0", "cut-0", "killed-1", "fine-1", "fine-2"]))
    log = tmp_path / "logs"
    killed = "its process ended unexpectedly, signal 9, often for want of memory; see "
    assert errors.pop("killed-0") in (f"{killed}{log}/process-0.txt", f"{killed}{log}/process-1.txt")
    assert errors.pop("killed-1").startswith(killed)
    assert errors.pop("cut-0").startswith("its process ended unexpectedly, exit status 1; see ")
    assert errors == {"fine-0": None, "fine-1": None, "fine-2": None}


def test_a_process_that_dies_between_two_runs_fails_none(fake):
    names = [f"last-{i}" for i in range(6)]
    assert by_name(fake(names)) == dict.fromkeys(names)


def test_a_process_that_cannot_start_is_said_and_not_tried_for_ever(fake, monkeypatch, tmp_path):
    program = tmp_path / "broken.py"
    program.write_text("import a_module_that_nobody_has\n")
    monkeypatch.setattr(processes, "_PROGRAM", [str(program)])
    with pytest.raises(UserError) as refused:
        list(fake(["fine-0", "fine-1"]))
    assert str(refused.value).split("process-")[1][1:] == (
        ".txt: a process for runs cannot start, exit status 1: "
        "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    )


def test_when_asked_to_stop_all_save_before_it_is_said(fake, tmp_path):
    started = [tmp_path / f"long-{i}.started" for i in (0, 1)]
    with pytest.raises(Stopped):
        list(fake(["long-0", "long-1", "fine-0"], stop_requested=lambda: all(path.exists() for path in started)))
    assert (tmp_path / "long-0.saved").exists()
    assert (tmp_path / "long-1.saved").exists()


def test_when_nobody_wants_the_outcomes_any_more_all_save(fake, tmp_path):
    outcomes = fake(["long-0", "fine-0"])
    next(outcomes)
    wait_for((tmp_path / "long-0.started").exists)
    outcomes.close()
    assert (tmp_path / "long-0.saved").exists()


@given(st.integers(1, 40), st.sets(st.integers(0, 200), min_size=1, max_size=30))
def test_processes_share_the_cores(jobs, cores):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_gpus", list)
        patch.setattr(os, "sched_getaffinity", lambda _: cores)
        shares = [place.cores for place in places(jobs)]
    assert len(shares) == jobs
    assert all(shares)
    if jobs <= len(cores):  # each core has one process, and no process two cores more than another
        assert sorted(core for share in shares for core in share) == sorted(cores)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    else:
        assert {core for share in shares for core in share} == cores


def test_a_gpu_has_one_process(monkeypatch):
    monkeypatch.setattr(processes, "_gpus", lambda: ["2", "5"])
    assert [(place.environment, place.cores) for place in places()] == [
        ({"CUDA_VISIBLE_DEVICES": "2"}, None),
        ({"CUDA_VISIBLE_DEVICES": "5"}, None),
    ]
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places(3)] == ["2", "5", "2"]
    assert {place.environment["XLA_PYTHON_CLIENT_PREALLOCATE"] for place in places(3)} == {"false"}


def test_gpus_are_those_that_the_user_left_visible(monkeypatch):
    counted = subprocess.CompletedProcess([], 0, stdout="2\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: counted)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes._gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert processes._gpus() == ["3", "1"]
    counted.returncode, counted.stdout = 1, ""  # jax cannot be imported: the workers will say why
    assert processes._gpus() == []


@pytest.fixture
def make_task(make_run, tmp_path):
    """A function (name, epochs) → `Task`, whose runs take seconds."""

    def make(name, epochs=2):
        config = make_run("plain", train__epochs=epochs, model__hidden_dims=(8,))
        return Task(name, config, tmp_path / "runs" / name)

    return make


def a_step_is_saved(workdir):
    return any(path.name.isdigit() for path in workdir.glob("checkpoints/*"))


def has_open(pid, file):
    return str(file) in {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if os.path.lexists(link)}


def cores_of(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))


def test_a_real_process_is_killed_in_the_middle_of_its_run_and_the_other_runs_are_trained(
    make_task, monkeypatch, tmp_path
):
    monkeypatch.setattr(processes, "_gpus", list)
    endless, short = make_task("endless", epochs=_MANY), make_task("short")
    cores = set()

    def kill_the_first():
        wait_for((endless.workdir / "metrics.jsonl").exists)
        workers = set(children(os.getpid())) - before
        cores.update(cores_of(worker) for worker in workers)
        (its,) = (worker for worker in workers if has_open(worker, tmp_path / "logs" / "endless.txt"))
        os.kill(its, signal.SIGKILL)

    before = set(children(os.getpid()))
    killer = threading.Thread(target=kill_the_first)
    killer.start()
    outcomes = in_processes([endless, short, make_task("other")], tmp_path / "logs", jobs=2, stop_requested=never)
    errors = by_name(outcomes)
    killer.join()
    assert errors.pop("endless").startswith("its process ended unexpectedly, signal 9")
    assert errors == {"short": None, "other": None}
    assert short.complete
    assert "epoch" in (tmp_path / "logs" / "short.txt").read_text()
    assert len(cores) == min(2, len(os.sched_getaffinity(0)))


def test_processes_save_and_end_when_their_parent_is_killed(make_task, tmp_path):
    task = make_task("endless", epochs=_MANY)
    (tmp_path / "config.json").write_text(json.dumps(to_dict(task.config)))
    program = [sys.executable, ROOT / "tests/programs/study_processes.py", tmp_path / "config.json"]
    parent = subprocess.Popen(
        [*program, task.workdir, tmp_path / "logs"], env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    )
    try:
        wait_for((task.workdir / "metrics.jsonl").exists)
        (worker,) = children(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    log = tmp_path / "logs" / "process-0.txt"
    wait_for(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text())
    assert a_step_is_saved(task.workdir)
    assert not task.complete
    assert "Traceback" not in log.read_text()
