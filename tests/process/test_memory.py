"""Memory that runs out is told in one line, with the settings that help."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import ROOT

import launch
from mtvae_jax.cli import dry_run as dry_running
from mtvae_jax.errors import UserError
from mtvae_jax.judging import judge as judging
from mtvae_jax.process.memory import enough_memory
from mtvae_jax.training import first_stage, second_stage

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory allocating 154618822656 bytes."


def exhausted(*_, **__):
    raise jax.errors.JaxRuntimeError(EXHAUSTED)


@pytest.fixture
def config(make_run):
    return make_run(train__batch_size=16)


def test_what_xla_raises_is_told_with_the_settings_that_help(config):
    """More than any machine's address space."""
    with (
        pytest.raises(UserError, match=r"^training: Out of memory .* 1\d{18} bytes; make .*batch_size = 16 or "),
        enough_memory("training", config, "train.batch_size", "model.hidden_dims"),
    ):
        jax.jit(lambda: jnp.zeros((2**30, 2**28), jnp.float32))()


def test_what_numpy_raises_is_told_too(config):
    with (
        pytest.raises(UserError, match=r"^judging: Unable to allocate .*; make config.generation.draws = 16 smaller$"),
        enough_memory("judging", config, "generation.draws"),
    ):
        np.zeros(2**60, np.uint8)


def test_other_errors_pass(config):
    with pytest.raises(RuntimeError, match="another"), enough_memory("training", config, "train.batch_size"):
        raise RuntimeError("another")


@pytest.mark.parametrize("flag", [[], ["--dry_run"]])
def test_the_command_names_batch_size_and_width(flag, digits_npz, tmp_path, capsys):
    """A layer of 168 TB, more than a process can address: nothing of it is written before XLA says no."""
    command = ["launch.py", f"--config={ROOT / 'configs' / 'gauss_plain.py'}:npz:{digits_npz}"]
    command += ["--config.model.hidden_dims=65536,65536", "--config.model.kernel_size=99"]
    command += ["--config.train.batch_size=16", "--config.prior.batch_size=16"]
    assert launch.main([*command, f"--workdir={tmp_path / 'run'}", *flag]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("launch.py: training: Out of memory ")
    assert error.endswith("; make config.train.batch_size = 16 or config.model.hidden_dims = 65536,65536 smaller\n")


def test_each_stage_and_judging_name_their_own_settings(config, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(first_stage, "fit", exhausted)
    with pytest.raises(UserError, match=r"^training: .*\.train\.batch_size = 16 or .*\.model\.hidden_dims = 8,16 "):
        first_stage.train(config, dataset, tmp_path / "run", stream=io.StringIO())
    monkeypatch.setattr(second_stage, "_train_prior", exhausted)
    with pytest.raises(UserError, match=r"^the second stage: .*\.batch_size = 32 or .*\.prior\.hidden_dim = 8 "):
        second_stage.train_prior(config, dataset, tmp_path / "run", stream=io.StringIO())
    monkeypatch.setattr(dry_running, "_SECONDS", 0.02)
    monkeypatch.setattr(dry_running, "_second_stage", exhausted)
    with pytest.raises(UserError, match=r"^the second stage: .*config\.prior\.batch_size = 32 "):
        list(dry_running.dry_run(config, dataset, tmp_path / "other"))


def test_so_does_judging(make_run, dataset, tmp_path, monkeypatch):
    class Model:
        step, prior, method = 1, None, judging.METHODS["plain"]

    monkeypatch.setattr(judging, "load", lambda _: Model())
    monkeypatch.setattr(judging, "_samples", exhausted)
    with pytest.raises(UserError, match=r"^judging: .*config\.generation\.num_samples = 8 or .*\.draws = 16 smaller$"):
        judging.judge(make_run("plain", generation__num_samples=8), dataset, tmp_path)
