"""A study of a few runs of a few steps, from nothing to its report."""

import contextlib
import io
import json
import shutil

import pytest

from mtvae_jax.errors import UserError
from mtvae_jax.study import attempt, results
from mtvae_jax.study.cells import CELLS
from mtvae_jax.study.config import PROTOCOLS, protocol_of, study_config
from mtvae_jax.study.protocols import Protocol
from mtvae_jax.study.study import run_study
from mtvae_jax.training.loop import Stopped

TABLES = ("results.csv", "claims.json", "report.md")


@contextlib.contextmanager
def in_folder(folder, digits_npz):
    """The config of a study of two runs of two epochs of four steps, in a folder of its own."""
    protocol = Protocol(
        name="tiny", datasets=(f"npz:{digits_npz}",), seeds=2, folds=2, fold_seeds=1, epochs=2, max_train=256,
        exponents=(20.0, 60.0), betas=(None, 1e-4, 1e-3), depths=(2, 4), kl_warmups=(1.0,), narrower=8,
        cells=CELLS[:1], num_samples=0,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(PROTOCOLS, "tiny", protocol)
        config = study_config("figure_4_1")
        config.protocol = "tiny"
        yield config


@pytest.fixture
def tiny(digits_npz, tmp_path):
    with in_folder(tmp_path, digits_npz) as config:
        yield config


@pytest.fixture(scope="module")
def once(digits_npz, tmp_path_factory):
    """The folder of a study that was run from nothing to its report, and what that said."""
    folder = tmp_path_factory.mktemp("once")
    with in_folder(folder, digits_npz) as config:
        failures, said = run(config)
    assert failures == {}
    return folder, said


@pytest.fixture
def done(tiny, once, tmp_path):
    """A copy of it in `tmp_path`: the tables of its report."""
    shutil.copytree(once[0], tmp_path, dirs_exist_ok=True)
    return tables(tmp_path / "study")


def run(config, folder="study", **arguments):
    stream = io.StringIO()
    failures = run_study(config, folder, stream=stream, **arguments)
    return failures, stream.getvalue()


def tables(folder):
    return {name: (folder / name).read_text() for name in TABLES}


def test_from_nothing_to_a_report_and_never_twice(tiny, once, done, tmp_path):
    _, said = once
    assert "2 runs, 0 complete" in said
    assert "2/2" in said
    assert "left" in said
    claims = {claim["id"]: claim["verdict"] for claim in json.loads(done["claims.json"])}
    assert set(claims) == {f"C{n}" for n in range(1, 15)}
    assert "Figure 4.1" in done["report.md"]
    assert (tmp_path / "study" / "report.html").stat().st_size > 20_000
    assert not list(tmp_path.glob("runs/*/figures")), "a study has its own figures"

    _, said = run(tiny)
    assert "2 runs, 2 complete" in said
    assert "2/2" not in said
    assert tables(tmp_path / "study") == done


@pytest.fixture
def claims_alone(monkeypatch):
    """Drawing takes longer than such runs do."""

    def write_report(results, folder):
        (folder / "claims.json").write_text(json.dumps(results.claims))

    monkeypatch.setattr(results, "write_report", write_report)


def test_stopped_again_and_again_it_ends_with_the_same_tables(tiny, done, tmp_path, claims_alone):
    tiny.runs = "broken"
    for asked in (0, 1):  # in the middle of an epoch of the first run, and of the second

        def stop_requested(left=[asked]):  # noqa: B006  one list a round
            left[0] -= 1
            return left[0] < 0

        with pytest.raises(Stopped):
            run(tiny, "of_broken", stop_requested=stop_requested)
    run(tiny, "of_broken")
    for name in ("results.csv", "claims.json"):
        broken = (tmp_path / "of_broken" / name).read_text().replace("broken/", "")
        whole = done[name].replace("runs/", "")
        assert broken == whole or json.loads(broken) == json.loads(whole), name


def test_a_run_that_fails_is_named_and_the_rest_goes_on(tiny, tmp_path, monkeypatch):
    train = attempt.train

    def fails_with_seed_0(config, *arguments, **named):
        if config.seed == 0:
            raise RuntimeError("out of memory: no room\nfor anything")
        return train(config, *arguments, **named)

    monkeypatch.setattr(attempt, "train", fails_with_seed_0)
    failures, said = run(tiny)
    (error,) = failures.values()
    assert error == "RuntimeError: out of memory: no room for anything"
    assert "FAILED: RuntimeError" in said
    assert "out of memory" in (tmp_path / "study" / "report.md").read_text()
    assert [log for log in (tmp_path / "study" / "logs").glob("*.txt") if "Traceback" in log.read_text()]

    monkeypatch.setattr(attempt, "train", train)
    failures, said = run(tiny)  # another try
    assert failures == {}
    assert "2 runs, 1 complete" in said


def test_a_report_of_what_is_there_trains_nothing(tiny, tmp_path):
    tiny.report_only = True
    failures, said = run(tiny)
    assert failures == {}
    assert "2 runs, 0 complete" in said
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "study" / "report.html").exists()


def test_the_records_of_runs_are_enough_for_a_report(tiny, done, tmp_path):
    for checkpoints in tmp_path.glob("runs/*/checkpoints"):
        shutil.rmtree(checkpoints)
    tiny.report_only = True
    failures, said = run(tiny, "again")
    assert failures == {}
    assert "2 runs, 2 complete" in said
    again = tables(tmp_path / "again")
    for name in ("results.csv", "claims.json"):
        assert again[name] == done[name], name
    assert "Figure 4.1" in done["report.md"]
    assert "Figure 4.1" not in again["report.md"], "pictures need the models"


def test_what_an_earlier_report_knows_is_not_trained_again(tiny, done, tmp_path):
    shutil.rmtree(tmp_path / "runs")
    tiny.earlier = str(tmp_path / "study" / "results.parquet")
    failures, said = run(tiny, "again")
    assert failures == {}
    assert "2 runs, 0 complete, 2 known from an earlier report" in said
    assert not (tmp_path / "runs").exists()
    again = tables(tmp_path / "again")
    for name in ("results.csv", "claims.json"):
        assert again[name] == done[name], name
    assert "2 of them known from the table of an earlier report alone" in again["report.md"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("earlier", "a.parquet,", "config.earlier = 'a.parquet,': must be results.parquet files of earlier reports"),
        ("protocol", "smal", "config.protocol = 'smal': must be 'full', 'small' or 'quick'; did you mean 'small'?"),
        ("where", "cloud", "config.where = 'cloud': must be 'here', 'processes' or 'slurm'"),
        ("seeds", "0", "config.seeds = '0': must be an integer in 1 … 1000, or 'auto', or None"),
        ("folds", 1, "config.folds = 1: must be an integer in 2 … 1000"),
        ("seeds", "auto", "config.seeds = 'auto': the rule is of all claims; must be a number, or the study 'all'"),
        ("jobs", True, "config.jobs = True: must be an integer in 1 … 10000, or None"),
        ("report_only", "yes", "config.report_only = 'yes': must be True or False"),
        ("runs", None, "config.runs = None: must be a folder"),
        ("slurm", 5, "config.slurm = 5: must be a section with fields of its own"),
        ("datasets", "mnist,,cifar10", "config.datasets = 'mnist,,cifar10': must be names of datasets"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(field, value, message):
    config = study_config("depth")
    with config.ignore_type():
        config[field] = value
    with pytest.raises(UserError) as error:
        protocol_of(config)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_study_that_does_not_exist_names_the_nearest():
    with pytest.raises(UserError, match=r"did you mean figure_4_2\?"):
        study_config("figure4_2")


def test_data_that_cannot_be_had_end_the_study_before_its_first_run(tiny, tmp_path):
    tiny.datasets = "npz:missing.npz"
    with pytest.raises(UserError, match="missing"):
        run(tiny)
    assert not (tmp_path / "runs").exists()
