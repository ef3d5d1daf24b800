"""Trackers as the log of a run uses them: each entry of the table, one that fails, one that is not installed."""

import json
import os
import sqlite3
import subprocess
import sys
import types

import pytest
from small_runs import ROOT

from mtvae_jax.errors import UserError
from mtvae_jax.trackers import TRACKERS, Run
from mtvae_jax.trackers.wandb import WeightsAndBiases
from mtvae_jax.workdir import metric_log
from mtvae_jax.workdir.metric_log import MetricLog, show_summary


class Listener:
    """A tracker that keeps what it is told."""

    told = None

    @staticmethod
    def check():
        pass

    def __init__(self, run):
        self.told.append(("open", run))

    def scalars(self, values, step):
        self.told.append(("scalars", values, step))

    def image(self, name, pixels, step):
        self.told.append(("image", name, pixels.shape, step))

    def summary(self, values, step):
        self.told.append(("summary", values, step))

    def close(self):
        self.told.append(("close",))


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(Listener, "told", [])
    monkeypatch.setitem(TRACKERS, "listener", Listener)
    return Listener.told


def record(epoch, **values):
    return {"epoch": epoch, "step": 10 * epoch, "val/loss": 1 / epoch, "note": "text", **values}


def test_a_tracker_is_told_what_is_logged_and_who_the_run_is(tmp_path, told):
    folder = tmp_path / "gauss_multi-mnist-1234"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": {"seed": 3}}))
    with MetricLog(folder, trackers=("listener",)) as log:
        assert told == []  # the first step does not wait for it
        log.write(record(1))
    with MetricLog(folder, trackers=("listener",), resume_epoch=1) as log:
        log.write(record(2))
    show_summary(folder, ("listener",), {"test/loss": 0.5, "warnings": ["a list"], "model": "gauss"}, epochs=2, step=20)
    first, again, last = (event[1] for event in told if event[0] == "open")
    assert first == Run(folder, first.identity, "gauss_multi-mnist-1234", {"config": {"seed": 3}}, 0, 0)
    assert (again.resume_epoch, again.first_step, last.first_step) == (1, 11, 21)
    assert first.identity == again.identity == last.identity
    assert [event for event in told if event[0] != "open"] == [
        ("scalars", {"val/loss": 1.0}, 10), ("close",), ("scalars", {"val/loss": 0.5}, 20), ("close",),
        ("summary", {"test/loss": 0.5, "model": "gauss"}, 20), ("close",),
    ]  # fmt: skip
    MetricLog(tmp_path / "other" / "prior-1234", trackers=("listener",)).write(record(1))
    assert told[-2][1].name == "other/prior-1234"
    assert told[-2][1].identity != first.identity


@pytest.mark.parametrize("error", [RuntimeError("no server"), ConnectionError("no server"), TimeoutError()])
@pytest.mark.parametrize("where", ["__init__", "scalars", "close"])
def test_one_that_fails_is_left_out_and_ends_nothing(tmp_path, told, monkeypatch, error, where):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Listener, where, fail)
    warned = pytest.warns(UserWarning, match="listener: failed, and shows no more of this run")
    with warned as said, MetricLog(tmp_path, trackers=("listener", "tensorboard")) as log:
        log.write(record(1))
        log.write(record(2))
    assert len(said) == 1
    assert len(metric_log.read_metrics(tmp_path)) == 2
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("name", sorted(set(TRACKERS) - {"tensorboard"}))
def test_a_package_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"config.train.trackers: {name} is not installed; pip install .*\[{name}\]"):
        TRACKERS[name].check()


def test_wandb_is_offline_unless_told_and_goes_on_as_the_same_run(tmp_path, monkeypatch):
    """By what its documentation asks of `wandb.init`, without the package."""
    asked = {}
    run = types.SimpleNamespace(log=lambda *_, **__: None, finish=lambda: None)
    package = types.SimpleNamespace(
        init=lambda **arguments: asked.update(arguments) or run, Image=None, Settings=lambda **settings: settings
    )
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    description = Run(tmp_path, "id", "name", {"a": 1}, 0, 0)
    WeightsAndBiases(description).close()
    assert {name: asked[name] for name in ("id", "name", "config", "mode", "resume", "dir")} == {
        "id": "id", "name": "name", "config": {"a": 1}, "mode": "offline", "resume": "allow", "dir": str(tmp_path)
    }  # fmt: skip
    monkeypatch.setenv("WANDB_MODE", "online")
    WeightsAndBiases(description)
    assert asked["mode"] == "online"


ATTEMPTS = """
import sys
import numpy as np
from pathlib import Path
from mtvae_jax.workdir.metric_log import MetricLog, show_summary

name, folder = sys.argv[1], Path(sys.argv[2])
for epoch in (1, 2):
    with MetricLog(folder, trackers=(name,), resume_epoch=epoch - 1) as log:
        log.write({"epoch": epoch, "step": 10 * epoch, "val/loss": 1 / epoch})
        log._trackers.show(lambda tracker: tracker.image("picture", np.zeros((4, 5, 3), np.uint8), 10 * epoch))
show_summary(folder, (name,), {"test/loss": 0.25}, epochs=2, step=20)
"""


def attempts(name, tmp_path):
    """Runs two attempts and a summary in a process whose trackers keep nothing outside of `tmp_path`."""
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "WANDB_MODE": "offline"}
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", ATTEMPTS, name, str(tmp_path / "run")],
                          env=environment, cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_trackio_has_every_epoch_of_a_run_that_went_on(tmp_path):
    pytest.importorskip("trackio")
    assert attempts("trackio", tmp_path) == ""
    with sqlite3.connect(tmp_path / "trackio" / "mtvae_jax.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert len({name for name, *_ in rows}) == 1
    logged = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert [(step, metrics["val/loss"]) for step, metrics in logged if "val/loss" in metrics] == [(10, 1.0), (20, 0.5)]
    assert [step for step, metrics in logged if "picture" in metrics] == [10, 20]
    assert [metrics["test/loss"] for _, metrics in logged if "test/loss" in metrics] == [0.25]


def test_wandb_goes_on_as_the_same_run(tmp_path):
    pytest.importorskip("wandb")
    assert attempts("wandb", tmp_path) == ""
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) >= 1
    assert len({file.name for file in files}) == 1  # by its identity
    assert len(list((tmp_path / "run" / "wandb").rglob("picture*.png"))) == 2
