"""Damaged files, other hands, a full disk, a clock that jumps: the last good state, or a line that says what to do."""

import io
import json
import os
import re
import shutil
import subprocess
import time

import jax
import numpy as np
import pytest

import mtvae_jax
from mtvae_jax.errors import UserError
from mtvae_jax.judging.judge import judge
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.trained.prior import prior_directory
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import Stopped
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.second_stage import train_prior
from mtvae_jax.training.step import init_state
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.metric_log import MetricLog, read_metrics

EPOCHS, STEPS = 6, 8  # steps of 32 images an epoch


@pytest.fixture(scope="session")
def settings(make_run):
    return make_run("plain", train__epochs=EPOCHS)


@pytest.fixture(scope="session")
def template(settings):
    objective = Objective(build_model(settings, (28, 28, 1)), settings, (28, 28, 1))
    return jax.eval_shape(lambda: init_state(objective, make_optimizer(settings.train, STEPS)))


@pytest.fixture(scope="session")
def unbroken(settings, dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("damage") / "unbroken"
    train(settings, dataset, workdir, stream=io.StringIO())
    return workdir


@pytest.fixture(scope="session")
def half(settings, dataset, tmp_path_factory):
    """A run that was stopped when four epochs were done, with its last two states."""
    workdir = tmp_path_factory.mktemp("damage") / "half"

    def after_four_epochs():
        return (workdir / "metrics.jsonl").exists() and len((workdir / "metrics.jsonl").read_bytes().splitlines()) >= 4

    with pytest.raises(Stopped):
        train(settings, dataset, workdir, stop_requested=after_four_epochs, stream=io.StringIO())
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["24", "32"]
    return workdir


@pytest.fixture
def broken(half, tmp_path):
    return shutil.copytree(half, tmp_path / "broken")


@pytest.fixture
def complete(unbroken, tmp_path):
    return shutil.copytree(unbroken, tmp_path / "complete")


def flip(path, seed=0):
    """One bit of the file is another."""
    data = bytearray(path.read_bytes())
    bit = np.random.default_rng(seed).integers(8 * len(data))
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


def cut(path, seed=0):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path, seed=0):
    path.unlink()


def go_on(settings, dataset, workdir):
    """What the run says on its way to the end."""
    out = io.StringIO()
    train(settings, dataset, workdir, stream=out)
    return out.getvalue()


def assert_as_unbroken(workdir, unbroken):
    for which in ("latest", "best"):
        one, two = (jax.tree.leaves(mtvae_jax.load(d, which).variables) for d in (workdir, unbroken))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    one, two = ([{**r, "images_per_second": 0} for r in read_metrics(d)] for d in (workdir, unbroken))
    assert one == two


def refusal(function, *arguments):
    """The one line with which a function refuses."""
    with pytest.raises(UserError) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


# ------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("damage", [flip, cut, remove])
def test_any_damage_to_any_file_of_the_latest_checkpoint_is_noticed_or_without_effect(damage, half, template, tmp_path):
    good = {step: Checkpoints(half / "checkpoints", read_only=True).restore(template, step) for step in (24, 32)}
    fell_back = set()
    files = sorted(p.relative_to(half / "checkpoints") for p in (half / "checkpoints" / "32").rglob("*") if p.is_file())
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(half / "checkpoints", folder)
        damage(folder / file, seed=number)
        checkpoints = Checkpoints(folder)
        restored = checkpoints.restore_latest(template)
        step = int(restored.state.step)
        assert same(restored.state, good[step][0]), file
        assert restored.record == good[step][1], file
        assert (checkpoints.latest_step, checkpoints.best_step) == (step, step)
        if step == 32:
            assert restored.notes == []
            continue
        fell_back.add(file)
        (note,) = restored.notes
        assert note.startswith(f"WARNING: {folder / '32'} is damaged (")
        assert ") and kept as 32.damaged; training goes on from step 24" in note
        assert (folder / "32.damaged").is_dir()
        checkpoints.close()
    # All that a state is made of; the rest are orbax' own notes about it.
    needed = {file for file in files if len(file.parts) > 2}
    assert fell_back >= (needed if damage is not remove else {f for f in needed if f.name != "commit_success.txt"})


def test_a_run_whose_latest_checkpoint_is_damaged_goes_on_from_the_one_before(
    settings, dataset, broken, unbroken
):
    (data,) = (broken / "checkpoints" / "32" / "state" / "d").iterdir()
    flip(data)
    remove(broken / "metrics.jsonl")
    ahead = time.time() + 9e6
    for file in broken.rglob("*"):  # nor does it matter when they were written
        os.utime(file, (ahead, ahead))
    said = go_on(settings, dataset, broken)
    assert f"WARNING: {broken / 'metrics.jsonl'} is damaged or missing; written again from the checkpoint" in said
    assert f"WARNING: {broken / 'checkpoints' / '32'} is damaged (state/d/{data.name} is not as it was saved)" in said
    assert "goes on after step 24 of 48" in said
    assert_as_unbroken(broken, unbroken)


def test_a_damaged_best_is_never_taken_for_whole_nor_another_for_the_best(settings, dataset, complete):
    summary = json.loads((complete / "summary.json").read_text())
    best = STEPS * summary["best_epoch"]
    assert {path.name for path in (complete / "checkpoints").iterdir()} == {str(best), str(STEPS * EPOCHS)}
    path = complete / "checkpoints" / str(best)
    metrics = path / "metrics" / "metrics"
    metrics.write_text(metrics.read_text().replace("0.", "9.", 1))  # the best would now be another
    way_out = "restore it from a copy; without one delete it, and summary.json if there is one, and the same command"
    said = refusal(mtvae_jax.load, complete)
    assert said.startswith(f"{path}: is damaged (metrics/metrics is not as it was saved); {way_out} goes on without it")

    shutil.rmtree(path)
    (complete / "summary.json").unlink()
    longer = settings.copy_and_resolve_references()
    with longer.unlocked():
        longer.train.epochs = EPOCHS + 1
    go_on(longer, dataset, complete) if best == STEPS * EPOCHS else go_on(settings, dataset, complete)
    assert mtvae_jax.load(complete).step != best


def test_without_any_whole_checkpoint_nothing_is_touched(settings, dataset, broken):
    for step in (24, 32):
        remove(broken / "checkpoints" / str(step) / "state" / "manifest.ocdbt")
    before = {path: path.stat().st_mtime_ns for path in (broken / "checkpoints").rglob("*")}
    said = refusal(go_on, settings, dataset, broken)
    assert said == (
        f"{broken / 'checkpoints'}: no checkpoint is whole (32: state/manifest.ocdbt is missing, 24: state/manifest."
        "ocdbt is missing); restore one from a copy, or start again with another --workdir"
    )
    assert {path: path.stat().st_mtime_ns for path in (broken / "checkpoints").rglob("*")} == before


def test_a_checkpoint_from_before_there_were_checksums_is_taken(template, broken):
    for step in (24, 32):
        remove(broken / "checkpoints" / str(step) / "sha256.json")
    assert Checkpoints(broken / "checkpoints").restore_latest(template).state.step == 32
    cut(broken / "checkpoints" / "32" / "state" / "manifest.ocdbt")  # as far as orbax notices
    restored = Checkpoints(broken / "checkpoints").restore_latest(template)
    assert (restored.state.step, len(restored.notes)) == (24, 1)


def test_checkpoints_of_another_run_are_refused(make_run, dataset, broken, tmp_path):
    other = make_run("plain", train__epochs=2, model__latent_dim=5)
    train(other, dataset, tmp_path / "other", stream=io.StringIO())
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    (tmp_path / "other" / "summary.json").unlink()
    shutil.copytree(broken / "checkpoints", tmp_path / "other" / "checkpoints")
    said = refusal(go_on, other, dataset, tmp_path / "other")
    assert "checkpoints/32: is not of the model in config.json: " in said
    assert said.endswith("; restore the one or the other, or give another directory with --workdir")
    assert "is not of the model" in refusal(mtvae_jax.load, tmp_path / "other")


# ------------------------------------------------------------------------------------------------------- other files


def garbage(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\0\xff{garbage\n", *lines[2:]]))


def another_digit(path):
    path.write_text(path.read_text().replace("0.0", "0.1", 1))


def lines_gone(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))


@pytest.mark.parametrize("damage", [garbage, another_digit, lines_gone, flip, cut, remove])
def test_a_damaged_log_is_written_again_from_the_checkpoint(damage, template, broken):
    good = (broken / "metrics.jsonl").read_bytes()
    damage(broken / "metrics.jsonl")
    before = (broken / "metrics.jsonl").read_bytes() if (broken / "metrics.jsonl").exists() else None
    restored = Checkpoints(broken / "checkpoints").restore_latest(template)
    with MetricLog(broken, resume_epoch=4, records=restored.record["epochs"]) as log:
        (note,) = log.notes
    said = f"WARNING: {broken / 'metrics.jsonl'} is damaged or missing; written again from the checkpoint"
    assert note == said + ("" if before is None else ", what it was is in metrics.jsonl.damaged")
    assert (broken / "metrics.jsonl").read_bytes() == good
    assert before is None or (broken / "metrics.jsonl.damaged").read_bytes() == before
    with MetricLog(broken, resume_epoch=4, records=restored.record["epochs"]) as log:
        assert log.notes == []  # once


def test_a_damaged_log_of_a_checkpoint_from_before_it_knew_the_epochs_is_refused(broken):
    path = broken / "metrics.jsonl"
    lines_gone(path)
    before = path.read_bytes()
    assert refusal(lambda: MetricLog(broken, resume_epoch=4)) == (
        f"{path}: does not tell of all that was trained so far (4 epochs); restore the file "
        "from a copy, or give another directory with --workdir"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "is damaged (Expecting value"), ("[]", "is damaged (it holds no object)"), ("{}", "is not the summary of a"),
     ('{"epochs": "6"}', "is not the summary of a run"), ("[" * 9999, "is damaged (")],
)  # fmt: skip
def test_a_damaged_summary_is_named_and_made_again(content, says, settings, dataset, complete):
    path = complete / "summary.json"
    before = json.loads(path.read_text())
    path.write_text(content)
    said = refusal(go_on, settings, dataset, complete)
    assert said.startswith(f"{path}: {says}")
    assert said.endswith("; restore it from a copy, or delete it: the same command makes it again")
    if content == "":
        path.unlink()  # the way out
        go_on(settings, dataset, complete)
        timing = ("seconds", "images_per_second")
        again = json.loads(path.read_text())
        assert {k: v for k, v in again.items() if not k.endswith(timing)} == \
            {k: v for k, v in before.items() if not k.endswith(timing)}  # fmt: skip


def edited(change):
    def damage(path):
        run = json.loads(path.read_text())
        change(run)
        path.write_text(json.dumps(run))

    return damage


CHANGED = "has been changed since the run wrote it; undo that, and start a run with other settings in another --workdir"
ELSEWHERE = "restore it from a copy; the same command in another --workdir writes the same"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (edited(lambda run: run["config"]["train"].update(learning_rate=0.5)), CHANGED),
        (edited(lambda run: run["config"]["model"].update(latent_dim=5)), CHANGED),
        (edited(lambda run: run["data"].update(fingerprint="0")), CHANGED),
        (edited(lambda run: run["config"].pop("model")), CHANGED),
        (edited(lambda run: run.pop("config")), f"is not the description of a run; {ELSEWHERE}"),
        (cut, "is damaged ("),
        (remove, f"is missing; {ELSEWHERE}"),
    ],
)  # fmt: skip
def test_a_config_changed_by_hand_or_damaged_is_refused_and_left_as_it_is(damage, says, settings, dataset, broken):
    path = broken / "config.json"
    original = path.read_text()
    damage(path)
    before = path.read_bytes() if path.exists() else None
    assert refusal(go_on, settings, dataset, broken).startswith(f"{path}: {says}")
    assert refusal(mtvae_jax.load, broken).startswith(f"{path}: ")
    assert before is None or path.read_bytes() == before
    path.write_text(original)  # the way out, and a copy from elsewhere is the same
    mtvae_jax.load(broken)


def test_the_files_of_a_second_stage_and_of_the_judge_are_named(settings, dataset, complete):
    prior = prior_directory(complete, settings, mtvae_jax.load(complete).step)
    (prior / "checkpoints").mkdir(parents=True)
    for content, says in (("{", "is damaged ("), ("{}", "is not that of"), ('{"num_classes": ""}', "is not that of")):
        (prior / "config.json").write_text(content)
        assert refusal(mtvae_jax.load, complete).startswith(f"{prior / 'config.json'}: {says}")
    shutil.rmtree(prior / "checkpoints")
    (prior / "config.json").write_text('{"num_classes": 0}')
    (prior / "summary.json").write_text("{}")
    said = refusal(train_prior, settings, dataset, complete)
    assert said.startswith(f"{prior / 'summary.json'}: is not the summary of a run; restore it from a copy, or delete")
    (complete / "generation.json").write_text("[")
    judged = settings.copy_and_resolve_references()
    with judged.unlocked():
        judged.generation.num_samples = 2
    assert refusal(judge, judged, dataset, complete).startswith(f"{complete / 'generation.json'}: is damaged (")


def test_killed_before_its_first_file_a_run_begins(settings, dataset, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.tmp").write_text('{"conf')
    (workdir / "lock").write_text('{"host": "gone", "pid": 1, "since": "long ago"}')
    assert "epoch 6/6" in go_on(settings, dataset, workdir)
    assert not (workdir / "lock").exists()


# ---------------------------------------------------------------------------------------------------- disk and clock


@pytest.fixture
def small_disk(tmp_path):
    """A function (bytes) that gives a disk of that size, or makes it that large."""
    mounted = []
    disk = tmp_path / "disk"

    def resize(size, *options):
        disk.mkdir(exist_ok=True)
        options = ",".join([f"size={size}", *options, *(["remount"] if mounted else [])])
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("disks may not be mounted here")
        mounted.append(disk)
        return disk

    yield resize
    if mounted:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_full_disk_is_one_line_and_with_more_room_the_run_ends_with_the_same_bits(
    settings, dataset, unbroken, small_disk
):
    # What is first to find no room: the work directory, the first checkpoint, the second
    no_room = r"needs 1\.\d MB, the disk has [01]\.\d; make room, and the same command goes on from the last checkpoint"
    for size, file, reason in (
        (4096, "run/config.json", "No space left on device"),
        (700_000, "run/checkpoints", no_room),
        (1_500_000, "run/checkpoints", no_room),
    ):
        disk = small_disk(size)
        said = refusal(go_on, settings, dataset, disk / "run")
        assert said.startswith(f"{disk}/{file}: ")
        assert re.search(reason, said)
    assert (disk / "run" / "checkpoints" / str(STEPS)).is_dir()  # what did fit
    small_disk("20m")
    go_on(settings, dataset, disk / "run")
    assert_as_unbroken(disk / "run", unbroken)


def test_a_disk_that_fills_up_while_orbax_writes_is_one_line(
    settings, dataset, unbroken, small_disk, monkeypatch
):
    # As where a quota is not known beforehand
    monkeypatch.setattr("mtvae_jax.workdir.checkpoints._OVERHEAD", -(1 << 40))
    disk = small_disk(400_000)
    said = refusal(go_on, settings, dataset, disk / "run")
    assert said.startswith(f"{disk}/run/checkpoints: cannot be written (No space left on device); make room, and the")
    small_disk("20m")
    go_on(settings, dataset, disk / "run")
    assert_as_unbroken(disk / "run", unbroken)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_disk_that_may_not_be_written_is_one_line(settings, dataset, broken, small_disk):
    disk = small_disk("20m")
    shutil.copytree(broken, disk / "run")
    small_disk("20m", "ro")
    said = refusal(go_on, settings, dataset, disk / "run")
    assert said == f"{disk}/run/lock: cannot be written (Read-only file system); give another directory with --workdir"
    said = refusal(go_on, settings, dataset, disk / "new")
    assert said == f"{disk}/new: Read-only file system; give another directory with --workdir"
    mtvae_jax.load(disk / "run")  # may be read


def test_a_file_where_a_folder_should_be_is_named(settings, dataset, broken, tmp_path):
    (tmp_path / "file").write_text("mine")
    said = refusal(go_on, settings, dataset, tmp_path / "file")
    assert said == f"{tmp_path / 'file'}: File exists; give another directory with --workdir"
    shutil.rmtree(broken / "checkpoints")
    (broken / "checkpoints").write_text("mine")
    assert refusal(go_on, settings, dataset, broken).startswith(f"{broken / 'checkpoints'}: cannot be written (File ex")


def test_a_clock_that_jumps_or_stands_changes_nothing(settings, dataset, unbroken, tmp_path, monkeypatch):
    now = [time.time()]

    def backwards():
        now[0] -= 60
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)  # too coarse to have moved
    calls = iter(range(1000))
    with pytest.raises(Stopped):
        train(settings, dataset, tmp_path / "run", stop_requested=lambda: next(calls) == 2, stream=io.StringIO())
    now[0] += 9e6
    go_on(settings, dataset, tmp_path / "run")
    assert_as_unbroken(tmp_path / "run", unbroken)
