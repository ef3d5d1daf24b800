"""Models to pass on: what is loaded from one is what was trained, in a folder without anything else."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from small_runs import ROOT, tiny_config

import mtvae_jax
from mtvae_jax.errors import UserError
from mtvae_jax.trained.publish import publish
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.second_stage import train_prior

KEY = jax.random.key(0)


@pytest.fixture(scope="module", params=[("gaussian", None), ("vq", 0.9)])
def run(request, tiny, tmp_path_factory):
    latent, average = request.param
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = tiny_config(latent, train__ema_decay=average)
    train(config, tiny, workdir)
    train_prior(config, tiny, workdir)
    return workdir


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_what_is_loaded_is_what_was_trained(run, tiny, tmp_path):
    publish(run, tmp_path / "model", note="Of a test.")
    trained, loaded = mtvae_jax.load(run), mtvae_jax.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.encode(tiny.test), trained.encode(tiny.test))
    grid = np.zeros((*tiny.image_shape[:2], 1), bool)
    grid[1::4, 1::4] = True
    draws = [model.sample(2, KEY, tiny.test, grid) for model in (trained, loaded)]  # of the second stage too
    np.testing.assert_array_equal(*draws)
    assert loaded.step == trained.step
    assert size(tmp_path / "model") < size(run) / 2
    kept = {path.name for path in (tmp_path / "model").iterdir()}
    assert {name for name in kept if not name.startswith("prior-")} == {
        "README.md", "config.json", "summary.json", "checkpoints"
    }  # fmt: skip
    assert "host" not in (tmp_path / "model" / "config.json").read_text()
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Of a test." in card
    assert mtvae_jax.load(tmp_path / "model", which="latest").step == trained.step


def test_the_command_publishes_or_says_in_one_line_why_not(run, tmp_path):
    def command(*arguments):
        return subprocess.run([sys.executable, "-m", "mtvae_jax.trained.publish", *map(str, arguments)], cwd=ROOT,
                              capture_output=True, text=True, check=False)  # fmt: skip

    done = command(run, tmp_path / "model")
    assert (done.returncode, done.stderr) == (0, "")
    again = command(run, tmp_path / "model")
    assert (again.returncode, again.stderr) == (
        2, f"publish: {tmp_path / 'model'}: is not empty; give a folder that does not exist\n"
    )  # fmt: skip
    (run / "summary.json").rename(tmp_path / "summary.json")
    try:
        with pytest.raises(UserError, match="is not complete; publish what has been trained to its end"):
            publish(run, tmp_path / "other")
    finally:
        (tmp_path / "summary.json").rename(run / "summary.json")
