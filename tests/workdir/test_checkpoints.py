"""Checkpoints: latest and best both stay, NaN never wins, types and damage are noticed."""

import dataclasses
import string
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtvae_jax
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.study.tasks import make_tasks
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import init_state
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.directory import default_workdir, examine_workdir, open_workdir, require_storable


class Tiny(NamedTuple):
    step: np.ndarray
    params: np.ndarray


@pytest.fixture(scope="module")
def state(make_run):
    config = make_run("plain", train__ema_decay=0.9, train__clip_norm=1.0)
    objective = Objective(build_model(config, (28, 28, 1)), config, (28, 28, 1))
    return jax.tree.map(np.asarray, init_state(objective, make_optimizer(config.train, 10)))


def at_step(state, step):
    return state.replace(step=np.int32(step))


def test_the_latest_two_and_the_best_stay_and_nan_is_never_best(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, loss in enumerate([3.0, 1.0, 2.0, float("nan"), 5.0, None], start=1):
        checkpoints.save(at_step(state, step), {}, metrics=None if loss is None else {"val/loss": loss})
        checkpoints.wait()
    checkpoints.close()
    again = Checkpoints(tmp_path, read_only=True)
    assert (again.latest_step, again.best_step) == (6, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "5", "6"]  # 5, should 6 be damaged


def test_a_state_comes_back_to_the_bit_in_a_new_process_order(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(at_step(state, 4), {"train_seconds": 1.5}, metrics={"val/loss": 1.0})
    checkpoints.close()
    restored, record = Checkpoints(tmp_path).restore(jax.eval_shape(lambda: state), 4)
    assert record == {"train_seconds": 1.5}
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(at_step(state, 4)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_a_checkpoint_of_another_model_or_type_is_refused(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(at_step(state, 1), {}, metrics={"val/loss": 1.0})
    checkpoints.wait()
    half = state.replace(params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.params))
    wider = state.replace(params=jax.tree.map(lambda x: np.zeros((*x.shape, 2), x.dtype), state.params))
    fewer = state.replace(params={})
    more = state.replace(params=state.params | {"another": np.zeros(3, np.float32)})
    for other, said in (
        (half, r"is float32 \[\d+\], must be bfloat16 \[\d+\]; restore the one or the other"),
        (wider, r"is float32 \[\d+\], must be float32 \[\d+, 2\]"),
        (fewer, r"is float32 .*, must be missing"),
        (more, r"params/another is missing, must be float32 \[3\]"),
    ):
        for restore in (lambda other: checkpoints.restore(other, 1), checkpoints.restore_latest):
            with pytest.raises(UserError, match=r"/1: .*is not of the model in config.json: .*" + said):
                restore(other)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_finished_run_keeps_its_best_and_its_latest(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, loss in enumerate([3.0, 1.0, 2.0, 1.5], start=1):
        checkpoints.save(at_step(state, step), {}, metrics={"val/loss": loss})
    checkpoints.prune()
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]
    assert checkpoints.best_step == Checkpoints(tmp_path, read_only=True).best_step == 2


def test_what_a_kill_leaves_half_written_is_cleared_away(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(at_step(state, 8), {}, metrics={"val/loss": 1.0})
    checkpoints.close()
    leftover = tmp_path / "99.orbax-checkpoint-tmp"
    leftover.mkdir()
    (leftover / "state").write_text("half")
    assert Checkpoints(tmp_path).latest_step == 8
    deadline = time.monotonic() + 10
    while leftover.exists() and time.monotonic() < deadline:  # in the background
        time.sleep(0.01)
    assert not leftover.exists()


# Of a path every character that a shell or a library may take for more than itself, and what etils and orbax look for
PARTS = [*string.punctuation.replace("/", ""), " ", "\n", "é", "\udcff", "[1]", "**", "gs:", "~"]


@pytest.mark.parametrize("part", PARTS, ids=ascii)
def test_what_is_written_below_a_path_that_is_not_refused_comes_back(part, tmp_path):
    folder = tmp_path / (part if len(part) > 1 else f"a{part}b") / "run"
    if part in (*"*?[]\\", "\udcff", "[1]", "**", "gs:"):
        with pytest.raises(UserError, match="checkpoints could not be read back from there"):
            require_storable(folder)
        return
    require_storable(folder)
    state = Tiny(np.int32(3), np.arange(5, dtype=np.float32))
    checkpoints = Checkpoints(folder)
    checkpoints.save(state, {}, metrics={"val/loss": 1.0})
    checkpoints.close()
    restored, _ = Checkpoints(folder, read_only=True).restore(state, 3)
    np.testing.assert_array_equal(restored.params, state.params)


@pytest.mark.parametrize("stem", ["faces[20x20]", "a*b", "\udcff", "a\\b"])
def test_the_default_work_directory_is_one_that_can_be_read_back_whatever_the_data_is_called(stem, make_run, dataset):
    workdir = default_workdir(make_run("plain"), dataclasses.replace(dataset, name=stem))
    require_storable(workdir)
    assert len(workdir.name) == len("gauss_plain--12345678") + len(stem)


def test_a_folder_that_cannot_be_read_back_is_refused_before_anything_is_written(make_run, dataset, tmp_path):
    config, folder = make_run("plain"), tmp_path / "x[1]"
    for refuse in (
        lambda: train(config, dataset, folder),
        lambda: examine_workdir(folder, config, dataset),
        lambda: make_tasks([], None, str(folder)),
    ):
        with pytest.raises(UserError, match=r"has \[ and \] in it; rename that folder, or give another with --"):
            refuse()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["best", "latest"])
def test_a_checkpoint_that_makes_way_for_another_while_it_is_loaded_is_not_damaged(
    which, state, make_run, dataset, tmp_path, monkeypatch
):
    config = make_run("plain", train__ema_decay=0.9, train__clip_norm=1.0)
    open_workdir(tmp_path, config, dataset).release()
    trained, read, reads = Checkpoints(tmp_path / "checkpoints"), Checkpoints.restore_variables, []
    trained.save(at_step(state, 1), {}, metrics={"val/loss": 9.0})
    trained.wait()

    def train_meanwhile(self, template, step):
        if not reads:
            for later in (2, 3, 4):
                trained.save(at_step(state, later), {}, metrics={"val/loss": 9.0 - later})
                trained.wait()
        reads.append(step)
        return read(self, template, step)

    monkeypatch.setattr(Checkpoints, "restore_variables", train_meanwhile)
    assert mtvae_jax.load(tmp_path, which).step == 4
    assert reads == [1, 4]
    trained.close()


def test_a_checkpoint_that_is_damaged_stays_so_however_often_it_is_read(state, make_run, dataset, tmp_path):
    config = make_run("plain", train__ema_decay=0.9, train__clip_norm=1.0)
    open_workdir(tmp_path, config, dataset).release()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(at_step(state, 1), {}, metrics={"val/loss": 9.0})
    checkpoints.close()
    (tmp_path / "checkpoints" / "1" / "metrics" / "metrics").write_text("torn")
    with pytest.raises(UserError, match="1: is damaged"):
        mtvae_jax.load(tmp_path)
