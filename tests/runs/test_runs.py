"""Folders of runs from the command line: what is listed, compared, deleted, and never deleted."""

import csv
import dataclasses
import glob
import io
import json
import math
import operator
import os
import shlex
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from small_runs import ROOT

import mtvae_jax
from mtvae_jax.errors import UserError
from mtvae_jax.runs import clean
from mtvae_jax.runs.command_line import main
from mtvae_jax.runs.find import find
from mtvae_jax.runs.loadable import loadable
from mtvae_jax.runs.rows import Condition, choose, parse_condition, row, sort
from mtvae_jax.runs.run import read_run
from mtvae_jax.runs.tables import cut_middle, listing
from mtvae_jax.runs.words import printable
from mtvae_jax.training.first_stage import train

DAYS_AGO = time.time() - 10 * 86400
STEPS = 8  # in an epoch
HEAVY = {"jax", "numpy", "flax", "absl", "ml_collections"}


# ------------------------------------------------------------------------------------------------- runs to work on


@pytest.fixture(scope="session")
def real_run(make_run, dataset, tmp_path_factory):
    """The work directory of a complete run of two epochs, and its summary."""
    workdir = tmp_path_factory.mktemp("real") / "gauss_plain-digits-0123abcd"
    config = make_run("plain", "gaussian")
    return workdir, train(config, dataset, workdir, stream=io.StringIO())


@pytest.fixture(scope="session")
def real_config(real_run):
    return json.loads((real_run[0] / "config.json").read_text())


@pytest.fixture
def make(tmp_path, real_config):
    """A function that writes a run as training does, without training."""

    def make_run(name="gauss_plain-digits-01234567", *, losses=(0.5, 0.3, 0.4), epochs=None, complete=True, saved=None,
                 old=True, second_stage=False, **fields):
        """`losses`: of each epoch; `epochs`: that it is to have; `saved`: epochs whose checkpoints are there."""
        workdir = tmp_path / "runs" / name
        workdir.mkdir(parents=True)
        (workdir / "config.json").write_text(json.dumps(real_config))
        fields = {"train__epochs": epochs or len(losses), **fields}
        edit(workdir / "config.json", second_stage=second_stage, **{f"config__{n}": v for n, v in fields.items()})
        write_stage(workdir, losses, complete, saved)
        if old:
            make_old(workdir)
        return workdir

    return make_run


def write_stage(folder, losses, complete=True, saved=None, metric="reconstruction"):
    best = min(range(len(losses)), key=losses.__getitem__) + 1 if losses else 0
    records = [
        {"epoch": n, "step": STEPS * n, "images_per_second": 100.0, "val/loss": loss, f"val/{metric}": loss / 2}
        for n, loss in enumerate(losses, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for epoch in {best, len(losses)} - {0} if saved is None else saved:
        write_checkpoint(folder / "checkpoints" / str(STEPS * epoch), losses[epoch - 1])
    if complete:
        summary = {
            "epochs": len(losses), "steps": STEPS * len(losses), "best_epoch": best, "val/loss": losses[best - 1],
            f"val/{metric}": losses[best - 1] / 2, "test/loss": losses[best - 1] + 0.01, "device": "1 × cpu",
            f"test/{metric}": losses[best - 1] / 2 + 0.01, "parameters": {"encoder": 1, "total": 12345},
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary))


def write_checkpoint(path, loss):
    for name in ("_CHECKPOINT_METADATA", "commit_success.txt", "state/_METADATA", "state/manifest.ocdbt", "state/d/0a",
                 "record/metadata"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    (path / "metrics").mkdir()
    (path / "metrics" / "metrics").write_text(json.dumps({"val/loss": loss}))


def write_prior(workdir, losses=(3.0, 2.0, 2.5), epochs=None, **keywords):
    """The second stage for the best model of a complete run."""
    edit(workdir / "config.json", config__prior__epochs=epochs or len(losses))
    settings, summary = (json.loads((workdir / name).read_text()) for name in ("config.json", "summary.json"))
    folder = workdir / "prior-89abcdef"
    folder.mkdir()
    about = {"prior": settings["config"]["prior"], "num_classes": 0, "model_step": STEPS * summary["best_epoch"]}
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "posteriors.npz").write_bytes(b"p" * 5000)
    write_stage(folder, losses, metric="nats", **keywords)
    make_old(workdir)
    return folder


def make_old(folder, moment=DAYS_AGO):
    for path in (*Path(folder).rglob("*"), Path(folder)):
        os.utime(path, (moment, moment), follow_symlinks=False)


def edit(path, **values):
    """Changes values in a JSON file, None takes one away; config__train is what lies in config and there in train."""
    whole = json.loads(path.read_text())
    for name, value in values.items():
        *outer, last = name.split("__")
        part = whole
        for key in outer:
            part = part[key]
        part[last] = value
        if value is None:
            del part[last]
    path.write_text(json.dumps(whole))


def width(text):
    """Columns on a terminal: wide characters take two, accents none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def files_in(folder):
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*")}


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """A function that runs a command in `tmp_path`: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def rows_of(call, *arguments):
    status, out, err = call(*arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def refusal(call, *arguments):
    """The one line that says what is wrong."""
    status, _, err = call(*arguments)
    assert status == 2
    assert err.startswith("runs: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


# --------------------------------------------------------------------------------------------------------- real ones


def test_a_real_run_is_read_as_its_summary_has_it(real_run, call):
    workdir, summary = real_run
    [row] = rows_of(call, "list", workdir.parent)
    assert (row["name"], row["state"], row["epoch"], row["epochs"]) == (workdir.name, "complete", 2, 2)
    assert row["parameters"] == summary["parameters"]["total"]
    assert row["parameters_sha256"] == summary["parameters_sha256"]
    assert "second_stage" not in row  # a plain Gaussian model has none
    figures = {name: value for name, value in summary.items() if name.startswith(("val/", "test/"))}
    assert {name: value for name, value in row.items() if name.startswith(("val/", "test/"))} == figures
    assert row["model.latent"] == "gaussian"
    assert row["data.fingerprint"] == summary["data"]["fingerprint"]
    du = subprocess.run(["du", "-s", "-B1", workdir], capture_output=True, text=True, check=True).stdout
    assert row["size"] == int(du.split()[0])


def test_what_these_tests_write_has_the_files_of_a_real_run(real_run, make):
    real, fake = files_in(real_run[0]), files_in(make(losses=(0.5, 0.4)))
    assert fake - {f"checkpoints/16/state/d{end}" for end in ("", "/0a")} <= real
    assert any(name.startswith("checkpoints/16/state/d/") for name in real)


@pytest.mark.parametrize(("early", "state"), [(9, "complete"), (7, "stopped")])  # 7: it has been made longer since
def test_a_run_that_was_ended_early_is_complete(early, state, make, call):
    edit(make(epochs=9) / "summary.json", stopped_early={"by": "--finish", "epochs": early})
    [row] = rows_of(call)
    assert (row["state"], row["epoch"], row["epochs"], row["best_epoch"]) == (state, 3, 9, 2)


def test_of_a_real_run_the_best_stays_loadable(real_run, tmp_path, call):
    """Two checkpoints whose latest is not the best, made of a run that has one."""
    workdir = tmp_path / "run"
    shutil.copytree(real_run[0], workdir)
    latest = workdir / "checkpoints" / "24"
    shutil.copytree(workdir / "checkpoints" / "16", latest)
    (latest / "metrics" / "metrics").write_text('{"val/loss": 99.0}')
    (latest / "sha256.json").unlink()  # as from before there were any
    edit(workdir / "summary.json", epochs=3, steps=24)
    edit(workdir / "config.json", config__train__epochs=3, sha256=None)
    assert mtvae_jax.load(workdir, "latest").step == 24
    status, out, _ = call("clean", workdir, "--best-only", "--idle=0", "--yes")
    assert status == 0
    assert "the latest checkpoint of a complete stage; the best is 16" in out
    assert not latest.exists()
    assert mtvae_jax.load(workdir).step == mtvae_jax.load(workdir, "latest").step == 16


# -------------------------------------------------------------------------------------------------------------- list


def test_states(make, call):
    make("complete")
    make("stopped", epochs=9, complete=False)
    make("longer", epochs=9)  # it was complete with 3 epochs
    make("empty", losses=(), complete=False)
    write_prior(make("prior", model__latent="vq"))
    write_prior(make("prior_stopped", model__latent="vq"), epochs=7, complete=False)
    make("prior_to_come", second_stage=True)
    make("no_prior", model__latent="vq", prior__epochs=0)
    rows = {row["name"]: row for row in rows_of(call)}
    assert {name: (row["state"], row["epoch"], row.get("second_stage")) for name, row in rows.items()} == {
        "complete": ("complete", 3, None), "stopped": ("stopped", 3, None), "longer": ("stopped", 3, None),
        "empty": ("empty", 0, None), "prior": ("complete", 3, "complete"), "no_prior": ("complete", 3, None),
        "prior_stopped": ("complete", 3, "stopped"), "prior_to_come": ("complete", 3, "to come"),
    }  # fmt: skip
    # Of a run that is not complete what its best epoch has measured, and nothing of before
    assert (rows["stopped"]["best_epoch"], rows["stopped"]["val/loss"]) == (2, 0.3)
    assert "test/loss" not in rows["longer"]
    assert rows["prior"]["prior/val/loss"] == 2.0
    _, out, _ = call()
    assert all(text in out for text in ("stopped 3/9", "nothing saved", "stopped 3/7"))


def test_a_second_stage_of_other_settings_is_another(make, call):
    """One of version 0.1.0, which had no `patience`, and one that names all of its settings."""
    workdir = make(model__latent="vq")
    shutil.copytree(write_prior(workdir), later := workdir / "prior-76543210")
    edit(workdir / "prior-89abcdef" / "config.json", prior__patience=None)
    settings = json.loads((workdir / "config.json").read_text())["config"]["prior"]
    edit(later / "config.json", settings=settings | {"patience": 5}, prior__patience=5)
    write_stage(later, (1.0,), metric="nats")
    assert [row["prior/val/loss"] for row in rows_of(call)] == [2.0]
    edit(workdir / "config.json", config__prior__patience=5, config__prior__epochs=1)
    edit(later / "config.json", settings__epochs=1)
    assert [row["prior/val/loss"] for row in rows_of(call)] == [1.0]
    edit(workdir / "config.json", config__prior__hidden_dim=77, second_stage=True)
    assert [row["second_stage"] for row in rows_of(call)] == ["to come"]


def test_an_epoch_counts_once_its_checkpoint_is_there(make, call):
    """Killed between the line in metrics.jsonl and the checkpoint; the third epoch, the best, will be trained again."""
    make(losses=(0.5, 0.4, 0.1), epochs=9, complete=False, saved=(2,))
    [row] = rows_of(call)
    assert (row["epoch"], row["best_epoch"], row["val/loss"]) == (2, 2, 0.4)


def test_runs_are_found_at_any_depth_and_only_runs(make, call, tmp_path):
    for name in ("a", "b/c/d", "b/e", "ünïcode 運行", "b/.hidden/f"):
        make(name)
    make("a/inner")  # a work directory within another
    for name in ("notes/config.json", "package/config.json"):
        (tmp_path / "runs" / name).parent.mkdir()
        (tmp_path / "runs" / name).write_text('{"name": "something else"}')
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "runs" / "a")
    assert [row["name"] for row in rows_of(call)] == ["a", "a/inner", "b/c/d", "b/e", "ünïcode 運行"]
    assert [row["name"] for row in rows_of(call, "runs/a", "runs/b", "runs")][:2] == ["runs/a", "runs/a/inner"]
    assert [row["name"] for row in rows_of(call, "runs/b/e")] == ["e"]
    write_prior(make("g", model__latent="vq"))
    assert rows_of(call, "runs/g/prior-89abcdef") == []  # a second stage is none


def test_the_size_is_that_on_disk_of_two_names_of_a_file_and_of_a_link_to_a_run(make, call, tmp_path):
    workdir = make()
    [row] = rows_of(call)
    assert row["size"] > 0
    os.link(workdir / "summary.json", workdir / "copy.json")
    (tmp_path / "linked").symlink_to(workdir)
    for folder in (workdir, tmp_path / "linked"):
        assert [(again["size"], again["touched"]) for again in rows_of(call, folder)] == [(row["size"], row["touched"])]


@pytest.mark.parametrize("zone", ["UTC", "XXX-13", "YYY+11"])
def test_times_are_shown_and_chosen_by_in_utc(zone, make, call, monkeypatch):
    """13 hours ahead of UTC and 11 behind it, where this moment is of another day."""
    make_old(make(), 1_700_000_000)  # 2023-11-14 22:13:20 in UTC
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        _, out, _ = call()
        assert out.splitlines()[0].endswith("touched, UTC")
        assert out.splitlines()[1].endswith("2023-11-14 22:13")
        chosen = {text: len(rows_of(call, f"--where=touched{text}"))
                  for text in (">2023-11-14 22:13", "<2023-11-14 22:14", "<2023-11-14 22:13", "~2023-11-14 22:13")}
        assert list(chosen.values()) == [1, 1, 0, 1]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", b'{"config": {', "config.json is not JSON"),
        ("config.json", b"", "config.json is not JSON"),
        ("config.json", b"\xff\xfe\x00", "config.json is not JSON"),
        ("config.json", b"[" * 100_000, "config.json is not JSON"),
        ("config.json", b"[1]", "config.json holds no object"),
        ("config.json", b'{"config": 3}', "config.json is not the description of a run"),
        ("config.json", b'{"config": {"model": {}}, "data": {}}', "config.json has no model.latent"),
        ("config.json", None, "config.json is missing"),
        ("summary.json", b'{"epochs": 3', "summary.json is not JSON"),
        ("summary.json", b'{"epochs": "three"}', "summary.json is not the summary of a run"),
        ("metrics.jsonl", b"{}\n{}\n", "metrics.jsonl, line 1 is not the record of an epoch"),
        ("checkpoints/16/state/manifest.ocdbt", None, "gone bad/checkpoints/16, the best, is missing or not whole"),
    ],
)
def test_a_damaged_file_is_one_line_that_says_so(make, call, file, content, says):
    make("good")
    bad = make("gone bad")
    (bad / file).unlink()
    if content is not None:
        (bad / file).write_bytes(content)
    status, out, err = call()
    assert (status, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith("gone bad")]
    assert f"damaged: {says}" in line
    [row] = rows_of(call, "--where=state=damaged")
    assert row["problem"].startswith(says)
    before = files_in(bad)
    assert "damaged" in call("clean", "--idle=0", "--yes")[1]
    assert files_in(bad) == before


def test_the_torn_last_line_of_a_killed_run_is_no_damage(make, call):
    workdir = make(epochs=9, complete=False)
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "val/lo')
    assert [(row["state"], row["epoch"]) for row in rows_of(call)] == [("stopped", 3)]


def test_where_sort_and_columns(make, call):
    make("a", losses=(0.2,), model__latent="vq", prior__epochs=0, model__hidden_dims=[32, 64])
    make("b", losses=(0.1,))
    make("c", losses=(0.3,))
    make("d", epochs=9, complete=False, losses=(), saved=())

    def names(*arguments):
        return [row["name"] for row in rows_of(call, *arguments)]

    assert names("--sort=val/loss") == ["b", "a", "c", "d"]
    assert names("--sort=-val/loss") == ["c", "a", "b", "d"]  # without a value: last either way
    assert names("--where=model.latent=vq") == names("--where", "model.hidden_dims=32,64") == ["a"]
    assert names("--where=val/loss>0.15", "--where=val/loss<=2e-1") == ["a"]
    assert names("--where=state!=complete", "--sort=val/loss") == ["d"]
    assert names("--where=size>1TB") == []
    assert names("--where=touched<2000-01-01") == []
    table = call("--columns=train.epochs,val/loss", "--sort=-val/loss")[1].splitlines()
    assert [line.split() for line in table[:2]] == [["run", "train.epochs", "val", "loss"], ["c", "1", "0.3"]]
    assert "none of 4 runs is so" in call("--where=name=x")[1]


def test_csv_has_every_field_and_all_digits(make, call):
    make("a", losses=(1 / 3,))
    make('b, "quoted"\nname', losses=(0.25,))
    _, out, _ = call("--csv")
    first, second = csv.DictReader(io.StringIO(out))
    assert float(first["val/loss"]) == 1 / 3
    assert second["name"] == 'b, "quoted"\nname'
    assert second["model.hidden_dims"] == "8,16"
    [row] = rows_of(call, "--where=name=a")
    assert set(row) <= set(first)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\x1b[31mred\nsecond line", r"\x1b[31mred\nsecond line"), (os.fsdecode(b"\xff"), r"\udcff")],
)
def test_names_cannot_command_the_terminal(name, shown, make, call):
    make(name)
    lines = call()[1].splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(shown)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
def test_a_list_fits_the_terminal(make, columns, tmp_path):
    write_prior(make("vq_multi-" + "very_long_" * 8 + "89abcdef", model__latent="vq"))
    make("運行" * 20)
    rows = [r | {"state": "damaged", "problem": "x" * 90} if i else r for i, r in enumerate(_rows(tmp_path / "runs"))]
    lines = listing(rows, terminal=columns).splitlines()
    assert max(map(width, lines)) <= columns
    if columns >= 40:
        assert any("89abcdef" in line for line in lines)
    whole = listing(rows).splitlines()
    assert any("very_long_" * 8 in line for line in whole)
    assert any("x" * 90 in line for line in whole)


def _rows(folder):
    return [row(read_run(path, name)) for path, name in sorted(find([folder]).runs.items(), reverse=True)]


# ----------------------------------------------------------------------------------------------------------- compare


def test_compare_shows_what_differs_and_marks_the_best(make, call):
    a, b = make("a", losses=(0.2, 0.1)), make("b", losses=(0.3, 0.4), train__learning_rate=0.5)
    comparison = json.loads(call("compare", a, b, "--json")[1])
    assert comparison["runs"] == ["a", "b"]
    assert comparison["settings"] == {"train.learning_rate": [0.001, 0.5]}
    assert comparison["results"]["val/reconstruction"] == {"values": [0.05, 0.15], "best": [0]}
    assert comparison["results"]["val/loss"]["best"] == [0]
    assert comparison["results"]["best_epoch"] == {"values": [2, 1], "best": []}
    text = call("compare", a, b)[1]
    assert [line.split() for line in text.splitlines() if line.startswith("val/loss")] == [
        ["val/loss", "0.1", "*", "0.3"]
    ]
    table = list(csv.reader(io.StringIO(call("compare", a, b, "--csv")[1])))
    assert table[:2] == [["", "a", "b"], ["train.learning_rate", "0.001", "0.5"]]
    assert ["val/loss", "0.1", "0.3"] in table
    markdown = call("compare", a, b, "--markdown")[1].splitlines()
    assert markdown[:3] == ["|  | a | b |", "|---|---|---|", r"| train.learning\_rate | 0.001 | 0.5 |"]
    assert "| val/loss | **0.1** | 0.3 |" in markdown


@pytest.mark.parametrize(
    ("change", "best", "note"),
    [
        ({"config__loss__beta": 0.5}, [0], "a loss of other terms or weights is another quantity: none"),
        ({"data__fingerprint": "another"}, [], "these runs are of different images: no figure"),
    ],
)
def test_figures_of_another_kind_are_not_compared(change, best, note, make, call):
    runs = make("a", losses=(0.1,)), make("b", losses=(0.2,))
    edit(runs[1] / "config.json", **change)
    comparison = json.loads(call("compare", *runs, "--json")[1])
    assert comparison["notes"] == [f"{note} is marked as best"]
    results = {name: result["best"] for name, result in comparison["results"].items()}
    assert results["val/loss"] == results["test/loss"] == []
    assert results["val/reconstruction"] == results["test/reconstruction"] == best


def test_runs_not_complete_and_damaged_are_compared_as_far_as_they_go(make, call):
    runs = make("a"), make("b", losses=(0.9, 0.8), epochs=9, complete=False), make("c")
    (runs[2] / "config.json").write_text("{")
    comparison = json.loads(call("compare", *runs, "--json")[1])
    assert comparison["results"]["val/loss"]["values"] == [0.3, 0.8, None]
    assert comparison["results"]["test/loss"]["values"][1:] == [None, None]
    assert comparison["notes"][0].startswith("c is damaged: config.json is not JSON")
    assert "b is not complete: its figures are those of its best epoch so far" in comparison["notes"]


def test_a_comparison_fits_the_terminal(make, call, monkeypatch):
    runs = [make(f"gauss_plain-a_rather_long_dataset-{n:08x}", train__learning_rate=0.1 + n) for n in range(5)]
    monkeypatch.setattr("mtvae_jax.runs.command_line._terminal", lambda: 80)
    lines = call("compare", *runs)[1].splitlines()
    assert max(map(width, lines)) <= 80
    assert all(sum(f"{n:08x}" in line for line in lines) == 1 for n in range(5))


# ------------------------------------------------------------------------------------------------------------- clean


@pytest.fixture
def littered(make):
    """A complete run with everything that can go: {what goes}, {what goes with --best-only}, the folder."""
    workdir = make("gauss_plain-digits-01234567", losses=(0.5, 0.2, 0.4, 0.3), saved=(1, 2, 4), model__latent="vq")
    prior = write_prior(workdir)
    (workdir / "config.tmp").write_text("{")
    (workdir / ".metrics.jsonl.123.tmp").write_text("{")
    (workdir / "figures").mkdir()
    (workdir / "figures" / ".draws.png.123-456.tmp").write_bytes(b"PNG")
    (workdir / "figures" / "draws.png").write_bytes(b"PNG")
    (workdir / "tensorboard").mkdir()
    (prior / "posteriors.tmp").write_bytes(b"PK")
    (workdir / "checkpoints" / "40.orbax-checkpoint-tmp-7").mkdir()
    broken = workdir / "checkpoints" / "24"
    write_checkpoint(broken, 0.4)
    (broken / "_CHECKPOINT_METADATA").unlink()
    make_old(workdir)
    gone = {"config.tmp", ".metrics.jsonl.123.tmp", "figures/.draws.png.123-456.tmp", "tensorboard",
            "prior-89abcdef/posteriors.tmp", "checkpoints/40.orbax-checkpoint-tmp-7", "checkpoints/24", "checkpoints/8"}
    with_best_only = {"checkpoints/32", "prior-89abcdef/checkpoints/24", "prior-89abcdef/posteriors.npz"}
    return gone, with_best_only, workdir


def without(names, gone):
    return {name for name in names if not any(name == one or name.startswith(f"{one}/") for one in gone)}


def test_what_is_deleted_is_what_was_announced_and_nothing_without_yes(littered, call):
    gone, _, workdir = littered
    before = files_in(workdir)
    status, out, _ = call("clean")
    assert status == 0
    assert files_in(workdir) == before
    assert all(f"  {name}: " in out for name in gone)
    *announced, last = out.splitlines()
    assert last.startswith("8 things in 1 folder, ")
    assert last.endswith(" can go; nothing is deleted yet: the same command with --yes does it")
    assert "checkpoints/8: an old checkpoint; the best is 16, the latest 32" in out
    status, out, err = call("clean", "--yes")
    assert (status, err) == (0, "")
    assert out.splitlines()[:-1] == announced
    assert files_in(workdir) == without(before, gone)
    assert [row["state"] for row in rows_of(call)] == ["complete"]
    assert call("clean")[1] == "nothing can go from 1 run\n"


@pytest.mark.parametrize("readable", [True, False])
def test_best_only_keeps_the_best_of_either_stage_and_all_if_it_cannot_be_read(readable, littered, call, monkeypatch):
    """The files of these checkpoints are all there, and hold nothing."""
    gone, with_best_only, workdir = littered
    before = files_in(workdir)
    if readable:
        monkeypatch.setattr("mtvae_jax.runs.command_line.loadable", lambda paths: dict.fromkeys(paths))
    status, out, _ = call("clean", "--best-only", "--yes")
    assert status == 0
    assert files_in(workdir) == without(before, gone | with_best_only if readable else gone)
    assert ("its best cannot be loaded, so the rest stays: " in out) == (not readable)
    assert [row["state"] for row in rows_of(call)] == ["complete"]


def test_without_an_answer_nothing_is_loadable(monkeypatch, tmp_path):
    monkeypatch.setattr("mtvae_jax.runs.loadable.sys.executable", shutil.which("false"))
    assert loadable([tmp_path]) == {tmp_path: "reading it back has failed"}


def test_a_run_that_can_go_on_keeps_its_checkpoints(make, call):
    make("stopped", epochs=9, complete=False, saved=(1, 2, 3))
    make("longer", epochs=9, saved=(1, 2, 3))
    # Its summary and its checkpoints do not agree on which is best
    edit(make("torn", saved=(1, 2, 3)) / "checkpoints" / "8" / "metrics" / "metrics", **{"val/loss": 0.01})
    make_old("runs")
    assert call("clean", "--best-only")[1] == "nothing can go from 3 runs\n"


def test_checkpoints_of_an_unknown_layout_are_no_reason_to_delete_a_run(make, call):
    workdir = make(losses=(0.5,), epochs=9, complete=False)
    (workdir / "checkpoints" / "8" / "record" / "metadata").unlink()
    make_old(workdir)
    assert "none is whole" in call("clean")[1]
    assert call("clean", "--idle=0", "--yes")[1].endswith("nothing to delete in 1 run\n")


def test_runs_that_never_saved_anything_and_folders_of_none(make, call):
    empty, noted = (make(name, losses=(), complete=False) for name in ("empty", "noted"))
    (noted / "notes.txt").write_text("mine")
    killed = make("killed", losses=(0.5,), complete=False, saved=())  # in its first checkpoint
    (killed / "checkpoints" / "8.orbax-checkpoint-tmp").mkdir(parents=True)
    never, foreign = (empty.parent / name for name in ("fsq_multi-mnist-89abcdef", "papers"))
    never.mkdir()
    foreign.mkdir()
    make_old("runs")
    out = call("clean")[1]
    assert "all of it: a run that never saved anything" in out
    assert "all of it: an empty folder, made for a run" in out
    assert call("clean", "--yes")[0] == 0
    assert [path.exists() for path in (empty, killed, never, noted, foreign)] == [False, False, False, True, True]


def test_a_folder_that_may_be_in_use_is_left_alone(make, call):
    recent, hours_ago = make("recent", old=False), time.time() - 5 * 3600
    (recent / "config.tmp").write_text("{")
    started = make("started", losses=(), complete=False)
    slow = make("slow", epochs=9, complete=False)  # 288 images at this speed: epochs of 4 hours
    (slow / "metrics.jsonl").write_text((slow / "metrics.jsonl").read_text().replace("100.0", "0.02"))
    (slow / "config.tmp").write_text("{")
    make_old(started, hours_ago)
    make_old(slow, hours_ago)
    out = call("clean", "--yes")[1]
    assert "recent: changed " in out
    assert "started: changed 5 hours ago, and may be in use; --idle says how long to wait" in out
    assert "slow: changed 5 hours ago" in out
    assert (recent / "config.tmp").exists()
    assert started.exists()
    assert call("clean", "--idle=4", "--yes")[1].count("all of it") == 1
    assert (recent / "config.tmp").exists()
    assert not started.exists()
    call("clean", "--idle=0", "--yes")
    assert not (recent / "config.tmp").exists()


def test_a_clock_that_went_back_deletes_nothing(make, call):
    workdir = make()
    (workdir / "config.tmp").write_text("{")
    os.utime(workdir / "config.tmp", (time.time() + 9e6,) * 2)
    assert "its files are from the future: is the clock right?" in call("clean", "--yes")[1]
    assert (workdir / "config.tmp").exists()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        pytest.param("import sys; file = open(sys.argv[1] + '/metrics.jsonl', 'a')", "process {} has it open", marks=(
            pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="processes are seen in /proc"))),
        ("import sys; from mtvae_jax.workdir.lock import hold; hold(sys.argv[1])", "in use by process {} on "),
        ("import sys; open(sys.argv[1] + '/run.lock', 'w').close()",
         "it has a lock file, run.lock; delete that if no process is at work here"),
    ],
)
def test_what_a_process_is_at_work_in_is_left_alone(program, says, littered, call):
    _, _, workdir = littered
    (workdir / "lock").write_text("{}")
    command = [sys.executable, "-c", f"{program}; print(flush=True); sys.stdin.read()", workdir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        before = files_in(workdir)
        out = call("clean", "--idle=0", "--yes")[1]
        assert files_in(workdir) == before
        process.kill()
    assert says.format(process.pid) in out
    (workdir / "run.lock").unlink(missing_ok=True)
    assert "lock: a temporary file" in " ".join(call("clean", "--idle=0", "--yes")[1].split())
    assert not (workdir / "lock").exists()


def test_what_was_set_aside_as_damaged_and_what_was_half_deleted_goes(littered, call):
    _, _, workdir = littered
    checkpoints = workdir / "checkpoints"
    for name in ("24.damaged", "24.damaged-2", "deleted"):
        shutil.copytree(checkpoints / "8", checkpoints / name)
    (workdir / "metrics.jsonl.damaged").write_text("?")
    (workdir / "metrics.jsonl.mine").write_text("mine")
    make_old(workdir)
    call("clean", "--yes")
    assert not list(checkpoints.glob("*d*"))
    assert [path.name for path in workdir.glob("metrics.jsonl.*")] == ["metrics.jsonl.mine"]


def test_links_are_not_followed(make, call, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    workdir = make(losses=(0.5, 0.2, 0.4), saved=(1, 2, 3))
    shutil.move(workdir / "checkpoints", elsewhere)  # on a larger disk
    (workdir / "checkpoints").symlink_to(elsewhere)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "config.tmp").write_text("mine")
    (workdir / "figures").symlink_to(tmp_path / "precious")
    (workdir / "summary.tmp").symlink_to(tmp_path / "precious" / "config.tmp")
    empty = make("empty", losses=(), complete=False)
    (empty / "figures").symlink_to(tmp_path / "precious")
    before = files_in(tmp_path)
    assert [row["state"] for row in rows_of(call)] == ["empty", "complete"]
    assert call("clean", "--best-only", "--idle=0", "--yes")[0] == 0
    assert files_in(tmp_path) == before


@pytest.fixture
def planned(littered):
    """What can go from the littered folder, and the folder."""
    [plan] = clean.make_plans(find([littered[2]]))
    return plan, littered[2]


def test_what_became_a_link_since_is_not_followed(planned, tmp_path):
    plan, workdir = planned
    elsewhere = tmp_path / "elsewhere"
    shutil.move(workdir / "checkpoints", elsewhere)
    (workdir / "checkpoints").symlink_to(elsewhere)
    before = files_in(elsewhere)
    assert clean.delete(plan, idle=0)[0]
    assert files_in(elsewhere) == before
    with pytest.raises(OSError, match="is a link"):
        clean._delete(workdir, workdir / "checkpoints" / "8")


def test_a_run_that_went_on_since_keeps_everything(planned):
    plan, workdir = planned
    (workdir / "metrics.jsonl").touch()
    before = files_in(workdir)
    gone, failures = clean.delete(plan)
    assert gone == []
    assert "may be in use" in failures["."]
    assert files_in(workdir) == before


def test_a_run_made_longer_since_keeps_what_it_may_start_from(planned):
    plan, workdir = planned
    edit(workdir / "config.json", config__train__epochs=9)
    make_old(workdir)
    gone = {item.path for item in clean.delete(plan)[0]}
    assert "checkpoints/24" in gone  # files of it are missing, whatever the run
    assert "checkpoints/8" not in gone
    assert (workdir / "checkpoints" / "8").exists()


def test_killed_while_deleting_a_checkpoint_nothing_looks_like_one(planned, monkeypatch):
    plan, workdir = planned

    def killed(path):
        (path / "state" / "_METADATA").unlink(missing_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(clean.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        clean.delete(plan)
    assert read_run(workdir, "run").problem is None
    monkeypatch.undo()
    make_old(workdir)
    clean.delete(*clean.make_plans(find([workdir])))
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"16", "32"}


def test_what_cannot_be_deleted_is_said(littered, call, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(clean.shutil, "rmtree", refused)
    status, out, err = call("clean", "--yes")
    assert status == 2
    assert "4 things in 1 folder" in out
    assert "is not deleted (Permission denied) (and 3 others); mend that, and give the same command again" in err


# -------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: does not exist; give the folder that your runs are in"),
        (["file"], "file: is a file; give the folder"),
        (["x" * 5000], "does not exist"),
        (["--where=val/loss"], "--where=val/loss: is not a condition; write FIELD=VALUE"),
        (["--where=latent=vq"], "--where: no run has a field latent; did you mean model.latent?"),
        (["--where=val/loss<low"], "--where=val/loss<low: 'low' is not a number"),
        (["--sort=val/los"], "--sort: no run has a field val/los; did you mean val/loss?"),
        (["--columns=qqqqqq"], "--columns: no run has a field qqqqqq; --csv shows all fields in its first line"),
        (["--josn"], "--josn: is not an option here; see python -m mtvae_jax.runs --help"),
        (["--json", "--csv"], "argument --csv: not allowed with argument --json"),
        (["compare"], "compare: takes two runs or more"),
        (["compare", "runs/a"], "compare: takes two runs or more"),
        (["compare", "runs/a", "runs"], "runs: holds no run; give work directories"),
        (["compare", "runs/a", "nowhere"], "nowhere: does not exist"),
        (["compare", "runs/a", "file"], "file: is a file"),
        (["clean", "--idle=soon"], "--idle=soon: must be a number of hours, 0 or more"),
        (["clean", "--idle=-1"], "--idle=-1: must be a number of hours, 0 or more"),
        (["clean", "--json"], "--json: is not an option here"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, says, make, call, tmp_path):
    make("a")
    (tmp_path / "file").touch()
    assert says in refusal(call, *arguments)


def test_a_folder_without_runs(call, tmp_path):
    (tmp_path / "runs").mkdir()
    assert call() == (0, "runs: holds no runs\n", "")
    assert call("--json") == (0, "[]\n", "")
    assert call("--where=val/loss<3", "--sort=val/loss")[0] == 0
    assert call("clean") == (0, "nothing can go from 0 runs\n", "")


def test_ctrl_c(make, call, monkeypatch):
    make()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mtvae_jax.runs.command_line.find", interrupted)
    assert call() == (75, "", "runs: stopped; the same command goes on\n")


def test_every_example_of_the_help_works(make, call):
    status, text, _ = call("--help")
    assert status == 0
    assert max(map(len, text.splitlines())) <= 80
    names = ("gauss_multi-mnist-1f2e3d4c", "gauss_plain-mnist-5a6b7c8d", "vq_a-mnist-1", "vq_b-mnist-2")
    for name in names:
        write_prior(make(name, model__latent="vq"))
    for name in names[2:]:
        edit(Path("runs", name, "summary.json"), **{"test/kl": 3.0})
    examples = [line.split("python -m mtvae_jax.runs")[1] for line in text.splitlines()
                if line.startswith("  python -m mtvae_jax.runs") and "--yes" not in line]  # fmt: skip
    assert len(examples) == 9
    for example in examples:
        arguments = shlex.split(example.split(" > ")[0].split("   ")[0])
        status, _, err = call(*(path for word in arguments for path in sorted(glob.glob(word)) or [word]))
        assert (status, err) == (0, ""), example


@pytest.mark.parametrize(
    ("arguments", "not_loaded"),
    [(["list"], HEAVY), (["compare", "a", "b"], HEAVY), (["list", "--json"], HEAVY | {"rich"}),
     (["clean"], HEAVY | {"rich"}), (["compare", "a", "b", "--csv"], HEAVY | {"rich"})],
)  # fmt: skip
def test_it_starts_at_once(arguments, not_loaded, make):
    runs = make("a").parent
    make("b")
    program = (
        "import sys; from mtvae_jax.runs.command_line import main; code = main(sys.argv[2:]);"
        "sys.exit(code or ' '.join(set(sys.argv[1].split()) & set(sys.modules)) or 0)"
    )
    where = [] if "compare" in arguments else [runs]
    result = subprocess.run([sys.executable, "-c", program, " ".join(not_loaded), *arguments, *where], cwd=runs,
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)  # fmt: skip
    assert (result.returncode, result.stderr.strip()) == (0, "")
    assert result.stdout


def test_the_reader_may_leave(make, tmp_path):
    for n in range(3):
        make(f"run{n}")
    command = f"{sys.executable} -m mtvae_jax.runs {tmp_path / 'runs'} --json | head -c 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (result.stdout, result.stderr) == ("[", "")


# ----------------------------------------------------------------------------------------------- choosing and sorting

FIELDS = st.sampled_from(["val/loss", "train.epochs", "name", "model.latent"])
NUMBERS = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES = NUMBERS | st.text("abcé,. =", min_size=1, max_size=5).map(str.strip).filter(bool)
RELATIONS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
             ">=": operator.ge}  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(FIELDS, st.sampled_from([*RELATIONS, "~"]), st.text(max_size=8), st.sampled_from(["", " ", "  "]))
def test_a_condition_is_read_as_it_is_written(field, relation, value, space):
    value = value.strip().lstrip("=").strip()  # "a<=" is "a", "<=", not "a", "<", "="
    assert parse_condition(f"{field}{space}{relation}{space}{value}") == Condition(field, relation, value)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_condition_or_refused_in_one_line(text):
    rows = [{"x": value} for value in (1, 0.5, "x", None, [1, 2], True, math.nan)]
    try:
        condition = parse_condition(text)
        held = [dataclasses.replace(condition, field="x").holds(row) for row in rows]
    except UserError as error:
        held = [str(error).startswith("--where=")]
    assert held != [False]
    assert set(held) <= {True, False}


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS | st.none(), max_size=8), st.sampled_from(list(RELATIONS)), NUMBERS)
def test_numbers_are_compared_as_numbers(values, relation, number):
    rows = [{"i": i, "x": value} for i, value in enumerate(values)]
    chosen = choose(rows, [parse_condition(f"x{relation}{number!r}")])
    expected = [i for i, v in enumerate(values)
                if (relation == "!=" if v is None else RELATIONS[relation](v, number))]  # fmt: skip
    assert [row["i"] for row in chosen] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES | st.none() | st.just(math.nan), max_size=10), st.booleans())
def test_sorting_puts_numbers_before_words_and_what_is_unknown_last(values, descending):
    rows = [{"i": i, "x": value} for i, value in enumerate(values)]
    found = sort(rows, "-x" if descending else "x")
    known = [row for row in rows if row["x"] is not None and row["x"] == row["x"]]
    ordered = [row["x"] for row in found[: len(known)]]
    numbers = sorted((v for v in ordered if not isinstance(v, str)), reverse=descending)
    words = sorted((v for v in ordered if isinstance(v, str)), reverse=descending)
    assert ordered == (words + numbers if descending else numbers + words)
    assert [row["i"] for row in found[len(known) :]] == [row["i"] for row in rows if row not in known]
    assert sorted(row["i"] for row in found) == list(range(len(values)))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.integers(1, 40))
def test_a_name_cut_in_the_middle_fits_and_keeps_its_hash(name, columns):
    name += "-0123abcd"
    shown = cut_middle(printable(name), columns)
    assert cell_len(shown) <= columns
    if columns > 11:
        assert shown.endswith("0123abcd")
