"""Two processes train as one with two devices does, to the bit; one of them speaks, and all stop together."""

import contextlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import ROOT

from mtvae_jax.errors import UserError
from mtvae_jax.process import distributed
from mtvae_jax.workdir.metric_log import read_metrics

JAX_VARIABLES = {"JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS"}

# What a process says in a shell that a Slurm step has left its variables to, too.
WAITING = "waiting for the 2 processes of Slurm step 7; JAX_NUM_PROCESSES=1 for a run of its own\n"


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def by_hand(process, port):
    return {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(process)}


def as_slurm(process, port):
    """What srun tells its tasks."""
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    return step | {"SLURM_PROCID": str(process), "SLURM_LOCALID": str(process), "JAX_COORDINATOR_PORT": str(port)}


def start(program, *arguments, cwd, devices=1, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in JAX_VARIABLES} | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "PYTHONUNBUFFERED": "1",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, str(ROOT / program), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_two(program, *arguments, folders, told=by_hand, devices=(1, 1)):
    port = free_port()
    return [
        start(program, *arguments, cwd=folders[process], devices=devices[process], **told(process, port))
        for process in (0, 1)
    ]


def finish(processes):
    """What each wrote: (status, output, errors)."""
    try:
        written = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, written, strict=True)]


@pytest.mark.parametrize(
    "model", [("gaussian", "single_decoder", "gaussian"), ("vq", "multi_decoder", "exact")], ids="-".join
)
def test_two_processes_train_as_two_devices_to_the_bit_and_as_one_to_rounding(model, tmp_path):
    program = "tests/programs/few_steps.py"
    results = finish([
        start(program, *model, f"{devices}.npz", cwd=tmp_path, devices=devices) for devices in (1, 2)
    ])  # fmt: skip
    results += finish(start_two(program, *model, "processes.npz", folders=[tmp_path] * 2))
    assert [(status, errors) for status, _, errors in results] == [(0, "")] * 4
    one, two, processes = (np.load(tmp_path / f"{name}.npz") for name in ("1", "2", "processes"))
    assert [int(run["devices"]) for run in (one, two, processes)] == [1, 2, 2]
    assert [int(run["processes"]) for run in (one, two, processes)] == [1, 1, 2]
    assert int(one["step"]) == 12

    for name in set(two.files) - {"processes"}:
        np.testing.assert_array_equal(two[name], processes[name], err_msg=name)

    # The first moment after a step is the gradient, but for a factor.
    names = [name for name in one.files if name.startswith("first/optimizer_state/") and "/mu/" in name]
    gradient, other = (np.concatenate([run[name].ravel() for name in names]) for run in (one, processes))
    assert np.linalg.norm(gradient - other) <= 1e-6 * np.linalg.norm(gradient)
    for name in names:
        np.testing.assert_allclose(one[name], processes[name], atol=1e-4 * np.abs(one[name]).max(), err_msg=name)

    for name in one.files:
        if name.startswith("first/val/"):  # every image is evaluated once, whichever process has it
            np.testing.assert_allclose(one[name], processes[name], rtol=1e-4, err_msg=name)
        # Rounding decides between two codes that are as near to within it, and each image that gets another one trains
        # all the others differently: in the end no more than what is learned can be the same.
        elif model[0] == "vq" and name.startswith(("val/loss", "val/rec", "metrics/loss", "metrics/rec")):
            np.testing.assert_allclose(one[name], processes[name], rtol=5e-3, err_msg=name)
        elif model[0] == "gaussian" and name.startswith(("params/", "batch_stats/")):
            assert np.abs(one[name] - processes[name]).max() < 2e-3 * np.abs(one[name]).max() + 1e-5, name
        elif model[0] == "gaussian" and name.startswith(("metrics/", "val/")):
            np.testing.assert_allclose(one[name], processes[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_two_devices_and_two_processes_train_with_a_first_guess_as_one_does(tmp_path):
    program, model = "tests/programs/few_steps.py", ("gaussian", "single_decoder", "uniform")
    results = finish([
        start(program, *model, f"{devices}.npz", "64", cwd=tmp_path, devices=devices) for devices in (1, 2)
    ])  # fmt: skip
    results += finish(start_two(program, *model, "processes.npz", "64", folders=[tmp_path] * 2))
    assert [(status, errors) for status, _, errors in results] == [(0, "")] * 4
    one, *others = (np.load(tmp_path / f"{name}.npz") for name in ("1", "2", "processes"))
    assert np.abs(one["batch_stats/context/guess/loadings"]).max() > 0.01
    # How many threads a process has decides how the fit is rounded.
    for other in others:
        for name in one.files:
            if name.startswith("first/batch_stats/"):
                np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-4, err_msg=name)
            elif name.startswith("val/"):
                np.testing.assert_allclose(one[name], other[name], rtol=1e-2, atol=1e-6, err_msg=name)


RUN = [
    f"--config={ROOT / 'configs' / 'gauss_semi.py'}:npz:digits.npz",
    "--config.model.hidden_dims=8",
    "--config.model.latent_dim=4",
    "--config.conditioning.grid_stride=2",
    "--config.train.batch_size=16",
    "--config.train.epochs=8",
    "--config.train.figures_every=1000",
    "--config.prior.batch_size=32",
    "--config.prior.epochs=2",
    "--config.prior.hidden_dim=8",
    "--config.generation.num_samples=8",
    "--config.generation.num_images=10",
    "--config.generation.draws=2",
]


@pytest.fixture
def folders(digits, tmp_path):
    """One for each process, as if on hosts that share nothing; with the small images of digits.npz in both."""
    both = [tmp_path / "0", tmp_path / "1"]
    for folder in both:
        folder.mkdir()
        np.savez(folder / "digits.npz", images=digits[:, ::3, ::3])
    return both


UNTIMED = ("val/", "test/", "best_epoch", "steps", "epochs", "parameters", "device", "data", "config_hash")


def what_came_out(workdir):
    """Every number of a run that is not a duration."""
    records = [workdir, *workdir.glob("prior-*")]
    assert len(records) == 2
    summaries = [json.loads((directory / "summary.json").read_text()) for directory in records]
    summaries = [{name: value for name, value in s.items() if name.startswith(UNTIMED)} for s in summaries]
    metrics = [
        [{**record, "images_per_second": 0} for record in read_metrics(directory)] for directory in records
    ]
    return summaries, metrics, json.loads((workdir / "generation.json").read_text())


def test_a_run_of_two_processes_one_of_them_stopped_ends_as_one_with_two_devices(folders):
    folder, other_folder = folders
    alone = start("launch.py", *RUN, "--workdir=alone", cwd=folder, devices=2)
    assert [(status, errors) for status, _, errors in finish([alone])] == [(0, "")]

    processes = start_two("launch.py", *RUN, "--workdir=two", folders=folders)
    metrics = folder / "two" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2) and processes[1].poll() is None:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    (status, out, errors), (other_status, _, other_errors) = finish(processes)
    assert (status, other_status, other_errors) == (75, 75, "")
    assert errors in ("", WAITING)
    assert "stopped after saving; the same command goes on" in out
    assert metrics.read_text().count("\n") < 8

    (status, out, errors), (other_status, other_out, other_errors) = finish(start_two(
        "launch.py", *RUN, "--workdir=two", folders=folders, told=as_slurm
    ))  # fmt: skip
    assert (status, other_status, other_errors) == (0, 0, "")
    assert errors in ("", WAITING)
    assert "goes on after step" in out
    assert "prior complete: 2 epochs" in out
    assert "draws given pixels, z from p(z|m)" in out
    # Process 0 speaks and writes for all.
    assert "epoch" not in other_out
    assert [path.name for path in other_folder.iterdir()] == ["digits.npz"]
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, 9))
    assert {path.name for path in (folder / "two").rglob("*.png")} == {
        path.name for path in (folder / "alone").rglob("*.png")
    }
    assert what_came_out(folder / "two") == what_came_out(folder / "alone")


def test_the_main_process_acts_and_the_others_learn_what_came_of_it(tmp_path):
    results = finish(start_two("tests/programs/agreements.py", tmp_path, folders=[tmp_path] * 2))
    assert [(status, errors) for status, _, errors in results] == [(0, "")] * 2
    told = [json.loads(out.splitlines()[-1]) for _, out, _ in results]
    assert [(each.pop("process"), each.pop("main")) for each in told] == [(0, True), (1, False)]
    assert [each.pop("found") for each in told] == [False, True]
    assert [each.pop("other error") for each in told] == [
        "OSError: the disk is full", "RuntimeError: process 0 failed: OSError: the disk is full"
    ]  # fmt: skip
    assert told[0] == told[1]
    assert {path.name for path in tmp_path.iterdir()} == {"visited-0", "first"}
    differs = told[0].pop("differs")
    assert differs.startswith("UserError: the processes of this run have different settings")
    assert told[0] == {
        "by": 0,
        "image": [[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]],
        "nothing": "-0.0",
        "user error": "UserError: metrics.jsonl: is damaged",
        "from main": ["a", 0],
        "any": [False, True, True, True],
        "same": None,
    }


@pytest.mark.parametrize(
    "value",
    [
        None, True, -3, -0.0, math.inf, 1e-320, "ü\udc80", Path("a/b"), [], (1, [2, (None,)]), {"a": {1: ()}, "b": [1]},
        np.arange(6, dtype=np.int32)[::-2], np.zeros((3, 0), np.float32), np.array(7.5), np.float32(0.1), np.True_,
        {"state": [np.full((2, 3), np.nan, np.float32), np.array(5, np.uint32)], "record": {"epochs": []}},
        np.asarray(jnp.arange(5, dtype=jnp.bfloat16)),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_sent_arrives_as_it_was(value):
    found = distributed.decode(distributed.encode(value))
    assert jax.tree.structure(found) == jax.tree.structure(value)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(value), strict=True):
        assert type(one) is type(other)
        if isinstance(one, (np.ndarray, np.generic)):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        else:
            assert repr(one) == repr(other)


class Intruder:
    def __reduce__(self):
        return os.mkdir, ("intruded",)


@pytest.mark.parametrize("value", [Intruder(), np.array([Intruder()], object), {"a": (Intruder(),)}, {1, 2}])
def test_no_object_is_sent(value):
    with pytest.raises(TypeError, match="cannot be sent to other processes"):
        distributed.encode(value)


def test_no_pickle_is_read_by_the_package():
    # submitit hands over the jobs of a study on Slurm as it likes; nothing else may.
    sources = (ROOT / "mtvae_jax").rglob("*.py")
    assert [path for path in sources if re.search(r"^\s*(import|from) pickle", path.read_text(), re.M)] == []


def test_processes_that_do_not_fit_are_refused(tmp_path):
    results = finish(start_two("launch.py", *RUN, folders=[tmp_path] * 2, devices=(1, 2)))
    message = "launch.py: the processes have [1, 2] devices; give each the same number\n"
    assert [(status, errors) for status, _, errors in results] == [(2, message)] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES = 'two': must be an integer at least 1"),
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS = '': must be HOST:PORT of process 0"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_COORDINATOR_ADDRESS": "node1"}, "JAX_COORDINATOR_ADDRESS = 'node1': must be"),
        (by_hand(2, 9), "JAX_PROCESS_ID = '2': must be an integer in 0 … 1"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_COORDINATOR_ADDRESS": "node1:9"}, "JAX_PROCESS_ID = '': must be an integer"),
    ],
)
def test_variables_that_are_not_whole_are_named(variables, message, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="^" + message.replace("(", r"\(")):
        distributed.start()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"JAX_NUM_PROCESSES": "1"},
        {"SLURM_STEP_NUM_TASKS": "2", "JAX_NUM_PROCESSES": "1"},  # tasks kept apart
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # a batch script's shell
    ],
)
def test_a_process_alone_stays_alone(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    distributed.start()
    assert distributed.is_main()
    token = object()
    assert distributed.from_main(token) is token
    assert distributed.on_main(lambda value, *, name: (value, name))(token, name=3) == (token, 3)
    assert distributed.main_first(lambda: token) is token
    assert distributed.any_process(False) is False
    distributed.require_same(token)
