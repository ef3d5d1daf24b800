"""What the process and the machine have set changes neither parameters nor whether a run comes to its end."""

import contextlib
import io
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest
from small_runs import ROOT, tiny_config

from mtvae_jax.conditioning import exact_grid_mask
from mtvae_jax.process import distributed
from mtvae_jax.process.environment import cache_directory
from mtvae_jax.trained.model import load
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.second_stage import train_prior

SETTINGS = {
    "enable_x64": True,
    "default_prng_impl": "rbg",
    "numpy_rank_promotion": "raise",
    "numpy_dtype_promotion": "strict",
    "transfer_guard": "disallow",
}


@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_parameters_and_what_a_model_says_do_not_depend_on_the_settings_of_the_process(
    latent, tiny, tmp_path
):
    config = tiny_config(latent)
    key, images = jax.random.key(0), tiny.test[:4]
    mask = np.asarray(exact_grid_mask(6, 6, 4))

    def run(workdir):
        hashes = [
            stage(config, tiny, workdir, stream=io.StringIO())["parameters_sha256"] for stage in (train, train_prior)
        ]
        model = load(workdir)
        said = [model.encode(images, key), model.sample(1, key, images, mask)]
        return hashes, said, {leaf.dtype for leaf in jax.tree.leaves(model.variables["params"])}

    usual = run(tmp_path / "usual")
    with contextlib.ExitStack() as odd:
        for name, value in SETTINGS.items():
            odd.enter_context(getattr(jax, name)(value))
        unusual = run(tmp_path / "unusual")
    assert unusual[0] == usual[0]
    assert unusual[2] == {np.dtype("float32")}
    for a, b in zip(usual[1], unusual[1], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_a_picture_that_cannot_be_drawn_ends_no_training(tiny, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("latex could\nnot be found")

    monkeypatch.setattr("mtvae_jax.figures.loss_curves", fails)
    said = io.StringIO()
    config = tiny_config("gaussian", "plain", train__figures_every=1)
    assert train(config, tiny, tmp_path, stream=said)["epochs"] == 1
    assert "WARNING: no figures of epoch 1: RuntimeError: latex could not be found" in said.getvalue()


def test_figures_do_not_follow_the_matplotlibrc_of_the_user(tmp_path):
    import matplotlib

    from mtvae_jax.figures import loss_curves, own_style, save

    records = [{"epoch": epoch, "train/loss": 1 / epoch, "val/loss": 1 / epoch} for epoch in (1, 2)]
    with own_style():
        save(loss_curves(records, title="a"), tmp_path / "usual.png")
    with matplotlib.rc_context({"text.usetex": True, "axes.grid": True, "font.size": 30}):
        with own_style():
            save(loss_curves(records, title="a"), tmp_path / "unusual.png")
        assert matplotlib.rcParams["text.usetex"]
    assert (tmp_path / "usual.png").read_bytes() == (tmp_path / "unusual.png").read_bytes()


def test_without_a_home_and_a_name_the_cache_is_among_temporary_files(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # the KeyError of a user who is not in /etc/passwd
    assert cache_directory().parts[-2:] == (".cache", "mtvae_jax")
    assert cache_directory().is_relative_to(tempfile.gettempdir())


CONFIG = f"--config={ROOT / 'configs' / 'gauss_plain.py'}:mnist_sample"
# What is beyond the encoding of a terminal, a full disk, a stream that was closed from the start
OUTPUTS = {
    "ascii": ("PYTHONIOENCODING=ascii", "", "0 "),
    "full": ("LC_ALL=C.UTF-8", ">/dev/full", "0 <stdout> cannot be written (No space left on device); the run goes on"),
    "closed": ("LC_ALL=C.UTF-8", ">&-", "0 "),
}


@pytest.mark.parametrize(("variables", "redirected", "expected"), OUTPUTS.values(), ids=list(OUTPUTS))
def test_what_is_said_ends_nothing(variables, redirected, expected, tmp_path):
    command = f"{variables} {sys.executable} {ROOT / 'launch.py'} --help {CONFIG} {redirected}; printf $? >status"
    asked = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert f"{(tmp_path / 'status').read_text()} {asked.stderr.strip()}" == expected


def test_variables_that_a_slurm_step_has_left_behind_are_not_a_step(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for name in ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("waits for others"))
    distributed.start()
