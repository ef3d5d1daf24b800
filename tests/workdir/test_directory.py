"""The work directory: which commands may go on with the run in it, and what it keeps of where it was trained."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess

import jax
import numpy as np
import pytest
from PIL import Image
from small_runs import ROOT, small_config

import mtvae_jax
from mtvae_jax.cli import command_line
from mtvae_jax.config import resolve, to_dict
from mtvae_jax.data import load_dataset
from mtvae_jax.errors import UserError
from mtvae_jax.process import environment
from mtvae_jax.trained.prior import prior_directory
from mtvae_jax.workdir.checkpoints import _check_same_model
from mtvae_jax.workdir.directory import default_workdir, examine_workdir, open_workdir, read_run, record_origin

STEPS = 8  # an epoch of 259 images in batches of 32


def begin(workdir, config, dataset):
    open_workdir(workdir, config, dataset).release()


def epochs_of(workdir):
    return read_run(workdir)["config"]["train"]["epochs"]


@pytest.fixture
def run(make_run, dataset, tmp_path):
    """A function steps, complete=… → the work directory of a run of two epochs, extended to 100,000 by mistake."""

    def make(steps, *, complete):
        workdir = tmp_path / "run"
        begin(workdir, make_run(train__epochs=2), dataset)
        for step in {2 * STEPS, steps}:
            (workdir / "checkpoints" / str(step)).mkdir(parents=True)
        if complete:
            (workdir / "summary.json").write_text(json.dumps({"epochs": 2, "steps": 2 * STEPS}))
        begin(workdir, make_run(train__epochs=100_000), dataset)
        assert epochs_of(workdir) == 100_000
        return workdir

    return make


@pytest.mark.parametrize(
    ("steps", "complete"),
    [(2 * STEPS, True), (2 * STEPS, False), (STEPS + 3, False), (2 * STEPS + 1, True), (3 * STEPS - 1, True)],
)
def test_an_extension_that_has_changed_nothing_is_undone_by_the_first_command(steps, complete, run, make_run, dataset):
    workdir = run(steps, complete=complete)
    begin(workdir, make_run(train__epochs=2), dataset)
    assert epochs_of(workdir) == 2


@pytest.mark.parametrize(("steps", "complete"), [(3 * STEPS, True), (2 * STEPS + 1, False)])
def test_steps_that_were_taken_are_not_forgotten(steps, complete, run, make_run, dataset):
    workdir = run(steps, complete=complete)
    with pytest.raises(UserError, match=r"config.train.epochs = 100000, not 2; more have been trained; --finish ends"):
        begin(workdir, make_run(train__epochs=2), dataset)
    begin(workdir, make_run(train__epochs=3), dataset)
    assert epochs_of(workdir) == 3


def test_with_a_schedule_over_all_epochs_their_number_cannot_change(make_run, dataset, tmp_path):
    begin(tmp_path / "run", make_run(train__epochs=4, train__schedule="cosine"), dataset)
    for epochs in (3, 5):
        with pytest.raises(UserError, match=f"config.train.epochs = 4, not {epochs}; give another"):
            begin(tmp_path / "run", make_run(train__epochs=epochs, train__schedule="cosine"), dataset)


def test_a_directory_of_another_run_or_of_something_else_is_left_alone(make_run, dataset, tmp_path):
    begin(tmp_path / "run", make_run(), dataset)
    with pytest.raises(UserError, match=r"holds a run with config.model.latent_dim = 4, not 5"):
        begin(tmp_path / "run", make_run(model__latent_dim=5), dataset)
    with pytest.raises(UserError, match="holds a run on other images"):
        begin(tmp_path / "run", make_run(), dataclasses.replace(dataset, fingerprint="0" * 16, name="digits"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and not the work directory of a run"):
        begin(tmp_path / "notes", make_run(), dataset)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("above", [True, False])
def test_a_link_to_nowhere_is_named(above, make_run, dataset, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unplugged")
    workdir = tmp_path / "link" / "run" if above else tmp_path / "link"
    for refuse in (lambda: begin(workdir, make_run(), dataset),
                   lambda: examine_workdir(workdir, make_run(), dataset)):
        with pytest.raises(UserError, match=r"link: is a link to .*unplugged, which is not there; mount or make"):
            refuse()


def test_a_linked_folder_is_one(make_run, dataset, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert not examine_workdir(tmp_path / "link", make_run(), dataset)


def test_patience_may_grow_and_not_shrink(make_run, dataset, tmp_path):
    for patience in (2, 3, None):
        begin(tmp_path / "run", make_run(train__patience=patience), dataset)
    with pytest.raises(UserError, match=r"holds a run with config.train.patience = None, not 3; give another"):
        begin(tmp_path / "run", make_run(train__patience=3), dataset)


def test_a_prior_without_patience_lies_where_it_lay(make_run, tmp_path):
    config = make_run("plain", "vq")
    settings = to_dict(config)["prior"]
    later = {"patience": None, "joint": False, "prediction": 1.0}
    assert {name: settings.pop(name) for name in later} == later
    values = json.dumps({"prior": settings, "model_step": 7}, sort_keys=True)  # as commit 742639c had it
    assert prior_directory("run", config, 7).name == f"prior-{hashlib.sha256(values.encode()).hexdigest()[:8]}"
    assert prior_directory("run", make_run("plain", "vq", prior__patience=3), 7) != prior_directory("run", config, 7)


# ----------------------------------------------------------------------------------------------- a file of the user's


@pytest.fixture
def named(tmp_path, digits_npz, monkeypatch):
    """A function name → (config, dataset) of digits.npz under that name, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(digits_npz, "digits.npz")

    def make(name):
        dataset = load_dataset(name)
        return resolve(small_config(dataset=name), dataset.image_shape), dataset

    return make


def test_a_run_belongs_to_the_images_and_not_to_the_path_of_their_file(named, tmp_path):
    first = default_workdir(*named("npz:digits.npz"))
    begin(first, *named("npz:digits.npz"))
    (tmp_path / "elsewhere").mkdir()
    shutil.copy("digits.npz", "elsewhere/faces.npz")
    for name in (f"npz:{tmp_path}/digits.npz", "npz:./digits.npz", "npz:elsewhere/faces.npz"):
        config, dataset = named(name)
        assert default_workdir(config, dataset) == first
        begin(first, config, dataset)
        assert read_run(first)["config"]["data"]["name"] == name
    config, dataset = named("npz:elsewhere/faces.npz")
    other = dataclasses.replace(dataset, fingerprint="0" * 16)
    assert default_workdir(config, other) != first
    with pytest.raises(UserError, match="holds a run"):
        begin(first, config, other)


def test_from_another_folder_a_run_finds_its_file(named, tmp_path, monkeypatch):
    begin("run", *named("npz:digits.npz"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    arguments = command_line.parse(["launch.py", "--workdir=../run"])
    assert arguments.config.data.name == f"npz:{tmp_path / 'digits.npz'}"
    begin("../run", *named(arguments.config.data.name))


@pytest.mark.parametrize("kind", ["npy", "folder"])
def test_so_does_a_run_on_another_kind_of_a_users_own_images(kind, named, digits, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.save("own", digits[:40])
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(digits[:40, ..., 0]):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number:02}.png")
    path = {"npy": "own.npy", "folder": "folder"}[kind]
    first = default_workdir(*named(f"{kind}:{path}"))
    begin(first, *named(f"{kind}:{path}"))
    assert default_workdir(*named(f"{kind}:{tmp_path / path}")) == first
    os.rename(path, f"moved-{path}")
    config, dataset = named(f"{kind}:moved-{path}")
    assert default_workdir(config, dataset) == first
    begin(first, config, dataset)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    arguments = command_line.parse(["launch.py", f"--workdir=../{first}"])
    assert arguments.config.data.name == f"{kind}:{tmp_path / f'moved-{path}'}"


# ------------------------------------------------------------------------------------------------ where it was trained


def test_versions_are_kept_in_order_and_a_change_is_said(make_run, dataset, tmp_path):
    workdir = tmp_path / "run"

    def goes_on(date, **origin):
        begin(workdir, make_run(), dataset)
        origin = {"host": "a", "device": "1 × cpu", "versions": {"jax": "1", "python": "3.11"}} | origin
        return record_origin(workdir, {"date": date, **origin})

    assert goes_on("monday") == goes_on("tuesday") == goes_on("wednesday", host="b") == []
    assert goes_on("thursday", versions={"jax": "1", "python": "3.12"}) == []
    (sentence,) = goes_on("friday", versions={"jax": "2", "python": "3.12"}, device="1 × gpu")
    assert sentence.startswith("trained with jax 1, then 2; device 1 × cpu, then 1 × gpu: its bits may differ")
    assert goes_on("saturday") == [sentence]
    run = read_run(workdir)
    assert [entry["date"] for entry in run["history"]] == ["monday", "wednesday", "thursday", "friday", "saturday"]
    assert run["versions"] == {"jax": "1", "python": "3.11"}


def test_a_run_from_before_there_was_a_history_begins_one(make_run, dataset, tmp_path):
    begin(tmp_path, make_run(), dataset)
    run = read_run(tmp_path) | {"versions": {"jax": "0.9"}}
    (tmp_path / "config.json").write_text(json.dumps(run))
    begin(tmp_path, make_run(), dataset)
    origin = environment.origin()
    (sentence,) = record_origin(tmp_path, origin)
    assert sentence.startswith(f"trained with jax 0.9, then {jax.__version__}: ")
    assert read_run(tmp_path)["history"] == [{"versions": {"jax": "0.9"}}, origin]


def test_a_clone_says_its_commit():
    version = environment.versions()["mtvae-jax"]
    if not (ROOT / ".git").exists():
        assert version.count("+") == 0
        return
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    name, _, found = version.partition("+g")
    assert name == mtvae_jax.__version__
    assert commit.startswith(found.removesuffix("-dirty"))
    assert len(found) >= 12


def test_parts_that_another_version_had_are_not_taken_for_another_model(tmp_path):
    here = {"params": {"norm": np.zeros(3), "bias": np.zeros(2)}}
    with pytest.raises(UserError, match=r"was written by an older version .*: params/norm is missing, must be float64"):
        _check_same_model({"params": {"bias": np.zeros(2)}}, here, tmp_path)
    with pytest.raises(UserError, match=r": is not of the model in config.json: params/bias is float64 \[4\], must be"):
        _check_same_model({"params": {"norm": np.zeros(3), "bias": np.zeros(4)}}, here, tmp_path)
