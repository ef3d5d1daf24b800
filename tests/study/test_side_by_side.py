"""Runs side by side in one program: each comes out as it does alone, and no trouble of one is another's."""

import io
import itertools
import json
import shutil
import types

import jax
import numpy as np
import pytest
from small_runs import small_config

import mtvae_jax
from mtvae_jax.config import resolve
from mtvae_jax.errors import UserError
from mtvae_jax.objective import Objective
from mtvae_jax.study import attempt
from mtvae_jax.study import side_by_side as module
from mtvae_jax.study.attempt import Outcome
from mtvae_jax.study.config import protocol_of, study_config
from mtvae_jax.study.side_by_side import groups, side_by_side
from mtvae_jax.study.tasks import Task, dataset_of
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import Stopped
from mtvae_jax.training.replicas import train_replicas
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.lock import holder
from mtvae_jax.workdir.metric_log import read_metrics

SHAPE = (6, 6, 1)
STEPS = 4  # an epoch
DIFFERENT = [{}, {"seed": 1, "loss__variance": 0.5}, {"seed": 2, "loss__kl_warmup_epochs": 2.0}]


@pytest.fixture(autouse=True, scope="module")
def _few_numbers_of_pixels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtvae_jax.training.evaluate._COUNTS", ())
        yield


@pytest.fixture(scope="module")
def npz(digits, tmp_path_factory):
    """Images of 6 × 6: 70 for training, 10 for validation, 10 for the test."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    images = digits[:90, 4:28:4, 4:28:4]
    np.savez(path, images=images[:80], test_images=images[80:])
    return path


@pytest.fixture(scope="module")
def make(npz):
    def make(seed=0, method="plain", latent="gaussian", **overrides):
        defaults = {
            "data__validation": 10 / 80,
            "model__hidden_dims": (4,),
            "model__latent_dim": 2,
            "model__residual_layers": 0,
            "train__batch_size": 16,
            **({"conditioning__sampling": "uniform"} if method != "plain" else {}),
        }
        config = small_config(method, f"npz:{npz}", latent, **defaults | overrides)
        config.seed = seed
        return resolve(config, SHAPE)

    return make


def tasks_of(configs, folder):
    return [Task(f"run {number}", config, folder / f"run-{number}") for number, config in enumerate(configs)]


def run(tasks, logs, **arguments):
    return list(side_by_side(tasks, logs, **{"stop_requested": lambda: False} | arguments))


def alone(config, workdir, **arguments):
    """Trains with nobody beside it. **Returns:** summary and records."""
    summary = train(config, dataset_of(config), workdir, stream=io.StringIO(), **arguments)
    return summary, read_metrics(workdir)


def assert_same(found, expected, tolerance=1e-4):
    (summary, records), (other, others) = found, expected
    assert summary.keys() == other.keys()
    assert [record["epoch"] for record in records] == [record["epoch"] for record in others]
    for one, two in [(summary, other), *zip(records, others, strict=True)]:
        names = [name for name in one if name.startswith(("train/", "val/", "test/"))]
        assert len(names) > 5
        # Of counts, as of codes in use, none is nearly another.
        assert {name: one[name] for name in names} == pytest.approx({name: two[name] for name in names}, rel=tolerance)
    for name in ("steps", "best_epoch", "config_hash", "beta", "train_images"):
        assert summary[name] == other[name]


def one_step_a_call(monkeypatch):
    for name in ("loop", "replicas"):
        monkeypatch.setattr(f"mtvae_jax.training.{name}.SECONDS_PER_CALL", 0.0)


def result(task):
    return json.loads((task.workdir / "summary.json").read_text()), read_metrics(task.workdir)


@pytest.fixture(scope="module")
def solo(make, tmp_path_factory):
    """Three runs, each trained alone and without a break: summaries and records, and the folder."""
    folder = tmp_path_factory.mktemp("alone")
    tasks = tasks_of([make(**different) for different in DIFFERENT], folder)
    return [alone(task.config, task.workdir) for task in tasks], folder


@pytest.fixture(scope="module")
def trained(make, tmp_path_factory):
    """The same three trained side by side, their outcomes, and the folder."""
    folder = tmp_path_factory.mktemp("together")
    tasks = tasks_of([make(**different) for different in DIFFERENT], folder)
    return tasks, run(tasks, folder / "logs", replicates=3), folder


def test_each_comes_out_as_alone(trained, solo):
    tasks, outcomes, folder = trained
    assert [(outcome.workdir, outcome.error) for outcome in outcomes] == [(task.workdir, None) for task in tasks]
    for task, expected in zip(tasks, solo[0], strict=True):
        assert_same(result(task), expected)
        assert "3 runs side by side" in (folder / "logs" / f"{task.workdir.name}.txt").read_text()
        assert holder(task.workdir) is None
        latest = (mtvae_jax.load(path, "latest").variables for path in (task.workdir, solo[1] / task.workdir.name))
        for one, two in zip(*map(jax.tree.leaves, latest), strict=True):
            assert np.abs(one - two).max() < 2e-3 * max(1.0, np.abs(two).max())
    # Three runs, not one three times.
    losses = [result(task)[0]["test/loss"] for task in tasks]
    assert min(abs(a - b) for a, b in itertools.pairwise(losses)) > 1e-3 * losses[0]


def test_the_summary_says_that_others_were_beside_it_and_counts_a_share_of_the_time(trained, solo):
    tasks, outcomes, _ = trained
    summaries = [result(task)[0] for task in tasks]
    assert [summary["side_by_side"] for summary in summaries] == [3, 3, 3]
    assert [summary["side_by_side"] for summary, _ in solo[0]] == [1, 1, 1]
    # All that they took includes what their clocks saw, and is told once.
    assert len({outcome.seconds for outcome in outcomes}) == 1
    assert sum(summary["wall_seconds"] for summary in summaries) < sum(outcome.seconds for outcome in outcomes)
    assert all(summary["train_seconds"] < summary["wall_seconds"] for summary in summaries)


def test_what_is_complete_is_not_trained_again(trained):
    tasks, _, _ = trained
    before = [result(task)[0] for task in tasks]
    jobs = [(task.config, task.workdir, io.StringIO()) for task in tasks]
    assert train_replicas(jobs, dataset_of(tasks[0].config)) == before
    assert [stream.getvalue() for *_, stream in jobs] == [""] * 3


def test_codes_and_revealed_pixels_too(make, tmp_path):
    settings = {"model__codebook_ema": 0.9, "model__codebook_restart": 0.2, "train__ema_decay": 0.9}
    configs = [make(0, "single_decoder", "vq", **settings)]
    configs += [make(1, "single_decoder", "vq", loss__beta=1.0, conditioning__exponent=60.0, **settings)]
    tasks = tasks_of(configs, tmp_path)
    assert [outcome.error for outcome in run(tasks, tmp_path / "logs", replicates=2)] == [None, None]
    assert_same(result(tasks[1]), alone(configs[1], tmp_path / "alone"))


def test_what_stopped_alone_goes_on_side_by_side_and_the_other_way_round(make, solo, tmp_path, monkeypatch):
    one_step_a_call(monkeypatch)
    tasks, logs = tasks_of([make(**different) for different in DIFFERENT], tmp_path), tmp_path / "logs"
    calls = iter(range(100))
    with pytest.raises(Stopped):
        alone(tasks[0].config, tasks[0].workdir, stop_requested=lambda: next(calls) == STEPS + 1)
    calls = iter(range(100))
    with pytest.raises(Stopped):
        run(tasks[1:], logs, replicates=3, stop_requested=lambda: next(calls) == STEPS + 1)
    steps = [Checkpoints(task.workdir / "checkpoints", read_only=True).latest_step for task in tasks]
    assert steps == [STEPS + 2] * 3
    assert [holder(task.workdir) for task in tasks] == [None] * 3

    alone(tasks[2].config, tasks[2].workdir)
    assert [outcome.error for outcome in run(tasks[:2], logs, replicates=3)] == [None] * 2
    assert (logs / "run-0.txt").read_text().startswith("gauss_plain")
    assert f"goes on after step {STEPS + 2} of {2 * STEPS}\n2 runs side by side" in (logs / "run-0.txt").read_text()
    for task, expected in zip(tasks, solo[0], strict=True):
        assert result(task)[0]["side_by_side"] == 2
        assert_same(result(task), expected)


def test_one_that_diverges_takes_no_other_with_it(make, solo, tmp_path, monkeypatch):
    one_step_a_call(monkeypatch)
    tasks, logs = tasks_of([make(**different) for different in DIFFERENT], tmp_path), tmp_path / "logs"
    calls = iter(range(100))
    with pytest.raises(Stopped):
        run(tasks, logs, replicates=3, stop_requested=lambda: next(calls) == 1)
    knobs = Objective.knobs.fget

    def bad_of_seed_1(self):
        return knobs(self).replace(beta=np.float32(np.nan)) if self.config.seed == 1 else knobs(self)

    monkeypatch.setattr(Objective, "knobs", property(bad_of_seed_1))
    first, bad, last = run(tasks, logs, replicates=3)
    assert bad.error.startswith(
        f"epoch 1, step 3: loss is nan, training has diverged; the state of step 2 is kept, {bad.workdir}"
    )
    failure = json.loads((bad.workdir / "failure.json").read_text())
    assert (failure["step"], failure["terms"]["loss"]) == (3, "nan")
    assert f"failed: {bad.error}" in (logs / "run-1.txt").read_text()
    assert not tasks[1].complete
    assert holder(bad.workdir) is None

    assert (first.error, last.error) == (None, None)
    for number in (0, 2):
        assert not (tasks[number].workdir / "failure.json").exists()
        assert_same(result(tasks[number]), solo[0][number])


def test_an_evaluation_that_fails_is_one_runs_own(make, tmp_path, monkeypatch):
    tasks = tasks_of([make(0), make(1)], tmp_path)
    metrics = Objective.metrics

    def bad_of_seed_0(self, means):
        found = metrics(self, means)
        return found | {"loss": np.nan} if self.config.seed == 0 and "psnr" in found else found

    monkeypatch.setattr(Objective, "metrics", bad_of_seed_0)
    first, second = run(tasks, tmp_path / "logs", replicates=2)
    assert first.error.startswith(f"epoch 1, step {STEPS}: val/loss is nan on the validation images, though all terms")
    assert second.error is None
    assert [record["epoch"] for record in read_metrics(tasks[1].workdir)] == [1, 2]
    assert not read_metrics(tasks[0].workdir)


def test_what_cannot_be_trained_as_one_is_trained_one_by_one(make, tmp_path, monkeypatch):
    tasks, tried = tasks_of([make(seed) for seed in range(3)], tmp_path), []

    def fails(jobs, dataset, *, stop_requested):
        raise RuntimeError("out of memory: no room\nfor so many")

    def train(config, dataset, workdir, **_):
        tried.append(workdir)
        if config.seed == 1:
            raise UserError("nor for this one")

    monkeypatch.setattr(module, "train_replicas", fails)
    monkeypatch.setattr(attempt, "train", train)
    outcomes = run(tasks, tmp_path / "logs", replicates=8)
    assert tried == [task.workdir for task in tasks]
    assert [outcome.error for outcome in outcomes] == [None, "nor for this one", None]
    log = (tmp_path / "logs" / "run-1.txt").read_text()
    assert "not side by side but one by one: RuntimeError: out of memory: no room for so many" in log
    assert "Traceback" in log


def test_a_directory_of_another_run_is_no_obstacle_to_its_neighbours(make, tmp_path, monkeypatch):
    tasks, tried = tasks_of([make(0), make(1)], tmp_path), []
    tasks[1].workdir.mkdir()
    (tasks[1].workdir / "thesis.txt").write_text("mine")
    monkeypatch.setattr(attempt, "train", lambda config, dataset, workdir, **_: tried.append(workdir))
    run(tasks, tmp_path / "logs", replicates=2)
    assert tried == [task.workdir for task in tasks]
    log = (tmp_path / "logs" / "run-0.txt").read_text()
    assert log.startswith(f"not side by side but one by one: {tasks[1].workdir}: is not empty and not the work ")
    assert "Traceback" not in log
    assert [holder(task.workdir) for task in tasks] == [None, None]


def test_runs_with_unequal_steps_are_not_trained_as_one_even_if_asked(make, trained, tmp_path):
    shutil.copytree(trained[0][0].workdir, tmp_path / "run-0")
    one, other = tasks_of([make(0, train__epochs=3), make(1, train__epochs=3)], tmp_path)
    jobs = [(task.config, task.workdir, io.StringIO()) for task in (one, other)]
    with pytest.raises(ValueError, match=r"\[8, 0\] steps"):
        train_replicas(jobs, dataset_of(one.config))
    assert [holder(task.workdir) for task in (one, other)] == [None, None]
    assert [len(group) for group in groups([one, other], 8)] == [1, 1]


def numbers(tasks, size, steps=None):
    steps = steps or {}
    found = groups(tasks, size, lambda task: steps.get(task.number, 0))
    return [[task.number for task in group] for group in found]


def test_groups_are_of_runs_that_differ_in_seed_and_knobs_alone(make):
    configs = [
        make(0, "single_decoder"),
        make(0, "multi_decoder"),
        make(1, "single_decoder"),
        make(2, "single_decoder", loss__variance=0.3),
        make(3, "single_decoder", loss__beta=0.01),
        make(0, "single_decoder", conditioning__exponent=60.0),
        make(4, "single_decoder", loss__weights=(0.5,)),
        make(5, "single_decoder", loss__kl_warmup_epochs=1.0),
        make(1, "multi_decoder", loss__weights=(1.0, 0.5)),
        # None of these with any other
        make(6, "single_decoder", train__learning_rate=0.1),
        make(6, "single_decoder", conditioning__sampling="gaussian"),
        make(6, "single_decoder", model__latent_dim=3),
        make(6, "single_decoder", data__fold=0, data__num_folds=5, data__validation=0.1),
        make(6, "single_decoder", data__fold=1, data__num_folds=5, data__validation=0.1),
        make(6, "single_decoder", train__epochs=3),
        make(6, "single_decoder", loss__balancing="softadapt"),
        make(6, "single_decoder", latent="vq"),
    ]
    tasks = [types.SimpleNamespace(config=config, number=number) for number, config in enumerate(configs)]
    lonely = [[number] for number in range(9, len(tasks))]
    assert numbers(tasks, 99) == [[0, 2, 3, 4, 5, 6, 7], [1, 8], *lonely]
    assert numbers(tasks, 3) == [[0, 2, 3], [1, 8], [4, 5, 6], [7], *lonely]
    assert numbers(tasks, 1) == [[number] for number in range(len(tasks))]
    assert numbers(tasks[:4], 9, {2: 80, 3: 80}) == [[0], [1], [2, 3]]
    assert numbers([], 9) == []


def test_on_a_cpu_nothing_is_side_by_side_unless_asked_for(make, tmp_path, monkeypatch):
    sizes = []

    def attempt_group(group, logs, stop_requested):
        sizes.append(len(group))
        return [Outcome(task.workdir, None, 1.0) for task in group]

    monkeypatch.setattr(module, "_attempt", attempt_group)
    monkeypatch.setattr(module, "in_turn", lambda tasks, logs, stop_requested: map(sizes.append, map(len, [tasks])))
    tasks = tasks_of([make(seed) for seed in range(10)], tmp_path)
    run(tasks, tmp_path)
    assert sizes == [1] * 10
    monkeypatch.setattr(module.jax, "default_backend", lambda: "gpu")
    sizes.clear()
    run(tasks, tmp_path)
    assert [size for size in sizes if size] == [8, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicates": 0}, "config.replicates = 0: must be an integer in 1 … 1000, or None"),
        ({"replicates": 4, "where": "slurm"}, "config.replicates = 4: with config.where = 'slurm' each run is trained "
         "alone; must be None or 1, or config.where 'here'"),
        ({"replicates": 2, "where": "processes"}, "config.replicates = 2: with config.where = 'processes' each run"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_refused(settings, message):
    config = study_config("all")
    config.update(settings)
    with pytest.raises(UserError) as error:
        protocol_of(config)
    assert str(error.value).startswith(message)
    config.replicates = 1
    protocol_of(config)
