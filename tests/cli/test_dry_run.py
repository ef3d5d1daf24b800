"""A dry run says what the run would do, and leaves no trace."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from small_runs import ROOT, small_config

import launch
from mtvae_jax.cli import dry_run as module
from mtvae_jax.cli.dry_run import dry_run
from mtvae_jax.config import SETTINGS, resolve, thesis_config
from mtvae_jax.data import load_dataset
from mtvae_jax.errors import UserError
from mtvae_jax.study.config import study_config
from mtvae_jax.study.dry_run import dry_run as study_dry_run
from mtvae_jax.training.first_stage import train

SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.02)


@pytest.fixture(scope="module")
def dataset(digits, tmp_path_factory):
    """Images of 8 × 8: 128 for training, 14 for validation, 18 for the test."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    np.savez(path, images=digits[:142, 2:26:3, 2:26:3], test_images=digits[142:160, 2:26:3, 2:26:3])
    return load_dataset(f"npz:{path}", validation=14 / 142)


def make(latent="gaussian", method="plain", **overrides):
    overrides = {"model__hidden_dims": (4,), "model__residual_layers": 0} | overrides
    return resolve(small_config(method, "npz:tiny.npz", latent, **overrides), SHAPE)


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def text(*arguments):
    return "\n".join(dry_run(*arguments))


def test_it_names_settings_data_parameters_and_steps_and_writes_nothing(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make("vq", "multi_decoder", loss__beta=0.5)
    out = text(config, dataset, tmp_path / "run")
    assert files(tmp_path) == []
    assert f"work directory: {tmp_path / 'run'}\n  nothing is there yet" in out
    assert re.findall(r"config\.([\w.]+) = ", out) == list(SETTINGS)
    assert "\n* config.loss.beta = 0.5  (0.25)\n" in out
    assert "\n* config.model.hidden_dims = 4  (32,64)\n" in out
    assert "\n  config.model.normalization = batch\n" in out
    assert f"fingerprint {dataset.fingerprint}" in out
    assert "128 training, 14 validation, 18 test images" in out
    first, second = out.split("first stage:")[1].split("second stage:")
    assert "an epoch of 4 steps" in first
    assert "8 steps to go" in first
    assert "4 steps to go" in second


@pytest.mark.parametrize(("latent", "method"), [("gaussian", "multi_decoder"), ("vq", "plain")])
def test_its_counts_are_those_of_the_run(latent, method, dataset, tmp_path):
    config = make(latent, method, prior__epochs=0)
    out = text(config, dataset, tmp_path / "run")
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    assert f"\n  {summary['parameters']['total']:,} parameters (" in out
    assert f"\n  {summary['steps']} steps to go" in out
    assert "second stage:" not in out


def test_of_a_run_that_is_there_it_says_how_far_it_is(dataset, tmp_path, monkeypatch):
    config = make()
    train(config, dataset, tmp_path / "run", stream=io.StringIO())
    before = files(tmp_path)
    assert "\n  complete: 2 epochs, best " in text(config, dataset, tmp_path / "run")
    longer = make(train__epochs=5)
    out = text(longer, dataset, tmp_path / "run")
    assert "\n  would go on after step 8 of 20\n" in out
    assert "\n  12 steps to go" in out
    assert files(tmp_path) == before
    monkeypatch.setattr(module, "holder", lambda workdir: "process 7 on elsewhere")
    assert "\n  in use by process 7 on elsewhere\n" in text(config, dataset, tmp_path / "run")


def test_what_the_run_would_refuse_it_refuses(dataset, tmp_path):
    train(make(), dataset, tmp_path / "run", stream=io.StringIO())
    with pytest.raises(UserError, match=r"holds a run with config\.loss\.beta = .*, not 0\.5"):
        text(make(loss__beta=0.5), dataset, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is not empty and not the work directory of a run"):
        text(make(), dataset, tmp_path / "mine")
    with pytest.raises(UserError, match=r"train\.batch_size = 500: must be at most 128"):
        text(make(train__batch_size=500), dataset, tmp_path / "run2")


def test_the_state_that_it_weighs_is_parameters_and_two_moments(dataset, tmp_path):
    out = text(make(model__hidden_dims=(64, 512)), dataset, tmp_path / "run")
    parameters = int(re.search(r"([\d,]+) parameters", out)[1].replace(",", ""))
    state = int(re.search(r"\((\d+) MiB state", out)[1])
    assert state == pytest.approx(3 * 4 * parameters / 2**20, rel=0.1)


def test_the_commands_option(digits_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["launch.py", f"--config={ROOT / 'configs' / 'gauss_plain.py'}:npz:{digits_npz}"]
    small = ["--config.model.hidden_dims=4", "--config.train.batch_size=16"]
    assert launch.main([*command, *small, "--dry_run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "work directory: runs/gauss_plain-digits-" in out
    assert "images/s" in out
    assert list(tmp_path.iterdir()) == []
    assert launch.main([*command, *small, "--dry_run=maybe"]) == 2


def test_it_says_what_it_found_in_a_folder(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for number, image in enumerate(digits[:60, ..., 0]):
        (tmp_path / "own" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[: 20 + number % 3]).save(tmp_path / "own" / str(number % 2) / f"{number}.png")
    (tmp_path / "own" / "broken.jpg").write_bytes(b"")
    settings = {"size": 8, "skip_broken": True, "labels": "folders"}
    flags = [f"--config.data.{name}={value}" for name, value in settings.items()]
    command = ["launch.py", "--config=gauss_plain:folder:own", "--config.train.batch_size=16", *flags, "--dry_run"]
    assert launch.main(command) == 0
    out = capsys.readouterr().out
    assert f"data: folder:{tmp_path / 'own'}, fingerprint " in out
    assert "gauss_plain on own, 8×8×1: 49 training, 5 validation, 6 test images" in out
    assert "60 images of 3 sizes, 20×28 … 22×28; the central piece of each resized to 8×8×1" in out
    assert "labels: 0 0 (30), 1 1 (30)" in out
    assert "WARNING: 1 of 61 files cannot be read and are left out: broken.jpg (" in out
    assert "* config.data.size = 8,8  (None)" in out


def test_a_study_counts_its_runs_and_the_time_they_took(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = study_config("figure_4_2")
    config.protocol = "quick"
    lines = list(study_dry_run(config))
    assert list(tmp_path.iterdir()) == []
    assert "6 runs in runs/:" in lines
    rows = {line.split()[1]: line.split() for line in lines if line.startswith("  mnist_sample ")}
    assert rows["gauss_plain"][2:] == ["2", "0", "0", "2", "not", "known"]
    assert rows["gauss_multi"][2:] == ["4", "0", "0", "4", "not", "known"]


def test_a_study_estimates_from_runs_of_the_same_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = study_config("figure_4_2")
    config.protocol = "quick"
    summary = {"epochs": 5, "steps": 50, "wall_seconds": 120.0}
    monkeypatch.setattr("mtvae_jax.study.dry_run.read_summary", lambda workdir: summary)
    monkeypatch.setattr("mtvae_jax.study.tasks.Task.complete", property(lambda task: task.config.seed == 0))
    rows = {line.split()[1]: line.split() for line in study_dry_run(config) if line.startswith("  mnist_sample ")}
    assert rows["gauss_multi"][2:] == ["4", "2", "0", "2", "4", "min"]
    assert rows["gauss_plain"][2:] == ["2", "1", "0", "1", "2", "min"]


def test_the_thesis_own_settings_bear_no_mark(dataset):
    thesis = resolve(thesis_config("npz:tiny.npz", latent="gaussian", method="plain"), SHAPE)
    assert not [line for line in module._settings(thesis, SHAPE) if line.startswith("*")]
