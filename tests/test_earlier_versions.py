"""What earlier versions have written: names of runs, and work directories, which resume, load, list and compare."""

import io
import json
import os
import shutil
import tarfile

import jax
import numpy as np
import pytest
from small_runs import ROOT

import mtvae_jax
from mtvae_jax import config as settings
from mtvae_jax.cli.command_line import parse
from mtvae_jax.config import from_dict, resolve, run_hash
from mtvae_jax.data import load_dataset
from mtvae_jax.runs.command_line import main as runs
from mtvae_jax.settings import Setting, integer
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.second_stage import train_prior

SHAPES = {"mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3), "celeb_a": (64, 64, 3)}

# As version 0.1.0 named them: work directories, checkpoints and tables of studies are found by these.
GOLDEN = [
    ("gauss_plain:mnist", {}, "243672b3"),
    ("gauss_semi:mnist", {}, "f32cc7db"),
    ("gauss_multi:mnist", {}, "35aea02d"),
    ("gauss_single:mnist", {}, "d31132da"),
    ("vq_plain:mnist", {}, "7fa97864"),
    ("vq_semi:mnist", {}, "740eee0c"),
    ("vq_multi:mnist", {}, "106c5db1"),
    ("vq_single:mnist", {}, "ef781056"),
    ("vq_cifar10_published:cifar10", {}, "a9259706"),
    (
        "gauss_multi:celeb_a",
        {"loss.balancing": "softadapt", "loss.weights": "1.0,0.5", "train.ema_decay": "0.999"},
        "7795bc6a",
    ),
    (
        "vq_multi:fashion_mnist",
        {"model.hidden_dims": "16,32", "train.epochs": "7", "data.num_folds": "5", "data.fold": "2",
         "model.codebook_ema": "0.99"},
        "1c1b7da7",
    ),
]  # fmt: skip


def config_of(name, overrides):
    file, dataset = name.split(":")
    overrides = [f"--config.{field}={value}" for field, value in overrides.items()]
    config = parse(["launch.py", f"--config={ROOT / 'configs' / file}.py:{dataset}", *overrides]).config
    return resolve(config, SHAPES[dataset])


@pytest.mark.parametrize(("name", "overrides", "expected"), GOLDEN, ids=[name for name, *_ in GOLDEN])
def test_a_run_keeps_its_name(name, overrides, expected):
    assert run_hash(config_of(name, overrides)) == expected


def test_a_new_setting_renames_no_run_until_it_has_another_value(monkeypatch):
    name, overrides, expected = GOLDEN[0]
    new = Setting((3, 4), integer(1)._replace(type=tuple, test=lambda v: True), "a tuple", since="9.0.0")
    monkeypatch.setitem(settings.SETTINGS, "model.new", new)
    config = config_of(name, overrides)
    assert run_hash(config) == expected
    with config.unlocked():
        config.model.new = (3, 5)
    assert run_hash(config) != expected


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a complete run of both stages, `vq_multi`, one stopped amid an epoch, `gauss_single`, and data."""
    folder = tmp_path_factory.mktemp("written")
    with tarfile.open(ROOT / "tests" / "written_by" / "0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def folder(written, tmp_path, monkeypatch):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_in(workdir):
    return from_dict(json.loads((workdir / "config.json").read_text())["config"])


def test_a_run_that_was_stopped_goes_on_from_its_step(folder):
    out = io.StringIO()
    config = config_in(folder / "gauss_single")
    summary = train(config, load_dataset("npz:digits.npz"), folder / "gauss_single", stream=out)
    assert "goes on after step 3 of 8" in out.getvalue()
    # As version 0.1.0 ended without the interruption, on another kind of processor perhaps
    records = [json.loads(line) for line in (folder / "gauss_single" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["val/loss"] for record in records]
    assert losses == pytest.approx([0.22325, 0.22269, 0.22214, 0.22154], rel=2e-3)
    assert summary["epochs"] == 4


def test_a_run_that_is_complete_stays_so_and_loads_with_its_prior(folder):
    config, dataset = config_in(folder / "vq_multi"), load_dataset("npz:digits.npz")
    before = {path: os.stat(path).st_mtime_ns for path in folder.glob("vq_multi/**/summary.json")}
    assert len(before) == 2
    train(config, dataset, folder / "vq_multi", stream=io.StringIO())
    train_prior(config, dataset, folder / "vq_multi", stream=io.StringIO())
    assert {path: os.stat(path).st_mtime_ns for path in before} == before
    model = mtvae_jax.load("vq_multi")
    assert model.prior is not None
    codes = model.posterior(dataset.test)
    with np.load(next(folder.glob("vq_multi/prior-*/posteriors.npz"))) as file:
        assert np.mean(codes == file["test"]) > 0.95
    assert model.sample(2, jax.random.key(0), dataset.test[:1], np.ones((12, 12, 1), bool)).shape == (2, 1, 12, 12, 1)


def test_they_are_listed_and_compared(folder, capsys):
    assert runs(["list", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "vq_multi" in out
    assert "gauss_single" in out
    assert runs(["compare", str(folder / "vq_multi"), str(folder / "gauss_single")]) == 0
    assert "model.latent" in capsys.readouterr().out
