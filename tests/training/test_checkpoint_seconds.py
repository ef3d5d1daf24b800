"""Checkpoints some time apart: what is saved, and that nothing is lost by it."""

import io

import jax
import numpy as np
import pytest

import mtvae_jax
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.recorder import Recorder
from mtvae_jax.workdir.metric_log import read_metrics

EPOCHS = 5
LONG = 1e6  # seconds


class _Killed(BaseException):
    pass


@pytest.fixture
def saved(monkeypatch):
    """The steps whose states are saved, in order."""
    steps, write = [], Recorder._write
    monkeypatch.setattr(Recorder, "_write", lambda run, state, *rest: (steps.append(int(state.step)),
                                                                      write(run, state, *rest)))
    return steps


def test_the_first_the_best_and_the_last_epoch_are_saved(make_run, dataset, tmp_path, saved, monkeypatch):
    losses = iter([5.0, 3.0, 2.0, 4.0, 2.5])  # the third is the best, and neither the first nor the last
    end_epoch = Recorder.end_epoch

    def with_loss(run, epoch, metrics, state):
        end_epoch(run, epoch, metrics | {"val/loss": next(losses)}, state)

    monkeypatch.setattr(Recorder, "end_epoch", with_loss)
    config = make_run("plain", train__epochs=EPOCHS, train__checkpoint_seconds=LONG, train__figures_every=0)
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    epoch = summary["steps"] // EPOCHS
    assert summary["best_epoch"] == 3
    assert saved == [epoch, 3 * epoch, 5 * epoch]
    assert mtvae_jax.load(tmp_path / "run").step == 3 * epoch


@pytest.mark.parametrize("last_seen", [2, 4])
def test_killed_between_two_a_run_comes_to_the_same_bits(make_run, dataset, tmp_path, monkeypatch, last_seen):
    config = make_run("plain", train__epochs=EPOCHS, train__checkpoint_seconds=LONG, train__figures_every=0)
    want = train(config, dataset, tmp_path / "undisturbed", stream=io.StringIO())
    end_epoch = Recorder.end_epoch

    def killed(run, epoch, metrics, state):
        end_epoch(run, epoch, metrics, state)
        if epoch == last_seen:
            run._checkpoints.wait()
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "end_epoch", killed)
        with pytest.raises(_Killed):
            train(config, dataset, tmp_path / "killed", stream=io.StringIO())
    assert len(read_metrics(tmp_path / "killed")) == last_seen
    out = io.StringIO()
    got = train(config, dataset, tmp_path / "killed", stream=out)
    assert f"goes on after step {want['steps'] // EPOCHS:,}" in out.getvalue()
    assert got["parameters_sha256"] == want["parameters_sha256"]
    assert [r["val/loss"] for r in read_metrics(tmp_path / "killed")] == [
        r["val/loss"] for r in read_metrics(tmp_path / "undisturbed")
    ]


def test_asked_to_stop_at_the_end_of_an_epoch_it_saves_that_epoch(make_run, dataset, tmp_path, saved):
    from mtvae_jax.training.loop import Stopped

    config = make_run("plain", train__epochs=EPOCHS, train__checkpoint_seconds=LONG, train__figures_every=0)
    workdir = tmp_path / "run"
    with pytest.raises(Stopped):
        train(config, dataset, workdir, stop_requested=lambda: len(_epochs(workdir)) == 3, stream=io.StringIO())
    latest = mtvae_jax.load(workdir, "latest")
    assert latest.step == saved[-1] >= 3 * saved[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(latest.variables))


def _epochs(workdir):
    return read_metrics(workdir) if (workdir / "metrics.jsonl").exists() else []
