"""launch.py as a user meets it: exit status, one-line messages, names of runs, and going on with one."""

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import jax
import pytest
from small_runs import ROOT

from launch import main
from mtvae_jax.cli.command_line import parse
from mtvae_jax.config import check, model_name
from mtvae_jax.errors import UserError
from mtvae_jax.runs.find import find
from mtvae_jax.study.config import earlier_tables
from mtvae_jax.trained.model import load

SMALL = [
    "--config.model.hidden_dims=4,8", "--config.model.latent_dim=4", "--config.model.residual_layers=0",
    "--config.train.batch_size=32", "--config.train.epochs=1", "--config.train.figures_every=0",
]  # fmt: skip


@pytest.fixture
def launch(tmp_path, monkeypatch, capsys):
    """A function of arguments → (status, output, errors) of the command in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main(["launch.py", *arguments])
        return status, *capsys.readouterr()

    return call


def in_a_fresh_process(program, cwd):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def config(name="gauss_multi", dataset=None):
    return f"--config={ROOT / 'configs' / name}.py" + (f":{dataset}" if dataset else "")


MISTAKES = [
    ([], "--config: is missing; for example --config=gauss_multi"),
    (["--config=nowhere.py"], "nowhere.py does not exist"),
    (["--config=configs/gaus_multi.py:cifar10"], "gaus_multi.py does not exist; did you mean --config=gauss_multi?"),
    (["--workdir=."], "--workdir=.: holds no run to go on with; give a --config too"),
    ([config(), "--config.train.epoch=3"], "config.train.epoch: there is no such field; did you mean config.train.ep"),
    ([config(), "--config.train.epochs=many"], "config.train.epochs = many: must be an integer of at least 1"),
    ([config(), "--config.train.epochs=0"], "config.train.epochs = 0: must be an integer of at least 1"),
    ([config(), "--config.train.nope.x=3"], "config.train.nope.x: there is no such field"),
    ([config(), "--config.loss.weights=1"], "config.loss.weights = (1,): multi_decoder has 2 decoders"),
    ([config(), "--config.data.substitute=maybe"], "config.data.substitute = maybe: must be True or False"),
    ([config(), "--confg=3"], "Unknown command line flag 'confg'"),
    ([config(), "--workdir"], "--workdir: has no value; give it one, as in --workdir=DIR"),
    (["--workdir", config(), "--config.seed=1"], "--workdir: has no value"),
    ([config(), "--workdir="], "--workdir=: has no value"),
    ([config(), "--config.data.dir", "--config.seed=1"], "--config.data.dir: has no value; give it one"),
    ([config(), config("gauss_plain")], "already; give one of them"),
    ([config(), "train"], "train: is not an option"),
    ([config(dataset="cifar11")], "did you mean cifar10?"),
    ([config(dataset="npz:nowhere.npz")], "npz:nowhere.npz: no such file"),
    ([config(dataset="npz:two\nlines")], r"npz:two\nlines: no such file"),
    ([f"--config={'x' * 300}"], "does not exist; the project's own are fsq_multi, "),
    ([config(), "--flagfile=nowhere"], "Unable to open flagfile"),
    ([config(), "--config"], "--config: has no value; give it one, as in --config=gauss_multi"),
    ([config(), "--config.seed="], "--config.seed=: has no value"),
    ([config(), "--config.train.epochs=None"], "config.train.epochs = None: must be an integer of at least 1"),
    ([config(), "--config.model.output=None"], "config.model.output = None: must be 'sigmoid' or 'linear'"),
    ([config(), "--config.train.lr=3"], "config.train.lr: there is no such field; did you mean config.train.learning_"),
    ([config(), "--config.prior.bs=3"], "did you mean config.prior.batch_size?"),
    ([config(), "--config.train.num_epochs=3"], "did you mean config.train.epochs?"),
    ([config(), "--config.train.optimizer=sgd"], "no such field; those of config.train are train.epochs, "),
    ([config(), "--seed=3"], "--seed: is not an option; did you mean --config.seed=VALUE?"),
    ([config(), "--epochs", "3"], "--epochs: is not an option; did you mean --config.train.epochs=VALUE?"),
    ([config("gauss_single"), "--config.conditioning.sampling=exact"], "'uniform', 'gaussian', 'box' or 'mixture'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_a_mistake_is_answered_in_one_line_with_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["launch.py", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("launch.py: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []  # refused before anything started


TYPE = (
    "from mtvae_jax.config import thesis_config\n"
    "def get_config():\n"
    "    config = thesis_config(latent='vq', method='plain')\n"
    "    config"
)
CONFIG_FILES = [
    ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ("def get_config(:\n", "line 1: SyntaxError: invalid syntax"),
    ("def get_config():\n    raise SystemExit(0)\n", "line 2: SystemExit: 0"),
    ("def get_config():\n    raise ValueError('two\\nlines')\n", "own.py: line 2: ValueError: two lines"),
    (f"{TYPE}.train.epochs = 'many'\n", "line 4: TypeError: Could not override field 'epochs'. many is of original"),
    (f"{TYPE}.model.hidden_dims = 8\n", "line 4: TypeError: Could not override field 'hidden_dims'. 8 is of original"),
    ("def get_config():\n    open('missing')\n", "own.py: OSError: "),
    ("def get_config():\n    return 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
    ("from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()\n", "is missing"),
]


@pytest.mark.parametrize("folder", ["", "."], ids=["absolute", "relative"])
@pytest.mark.parametrize(("content", "message"), CONFIG_FILES, ids=[message[:30] for _, message in CONFIG_FILES])
def test_a_config_file_that_fails_is_answered_in_one_line(content, message, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(content)
    assert main(["launch.py", f"--config={os.path.join(folder or tmp_path, 'own.py')}"]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    "name", [f"{latent}_{method}" for latent in ("gauss", "vq") for method in ("plain", "semi", "multi", "single")]
)
def test_every_config_file_takes_a_dataset_and_overrides(name):
    arguments = parse(["launch.py", config(name, "npz:my/images.npz"), "--config.train.epochs=3", "--workdir=here"])
    assert arguments.workdir == Path("here")
    assert arguments.config.train.epochs == 3
    assert arguments.config.data.name == "npz:my/images.npz"
    assert model_name(arguments.config) == name
    assert parse(["launch.py", config(name)]).config.data.name == "mnist"
    check(arguments.config)


def test_a_run_has_its_own_name_and_imports_no_tensorflow_for_a_users_own_images(digits_npz, tmp_path):
    program = (
        "import sys, launch\n"
        f"status = launch.main(['launch.py', {config('gauss_plain', f'npz:{digits_npz}')!r}, '--config.train.epochs=1',"
        " '--config.model.hidden_dims=8'])\n"
        "found = [name for name in ('tensorflow', 'tensorflow_datasets') if name in sys.modules]\n"
        "sys.exit(f'status {status}, imported {found}' if status or found else 0)"
    )
    done = in_a_fresh_process(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete: 1 epoch, the best is epoch 1" in done.stdout
    (workdir,) = (tmp_path / "runs").iterdir()
    assert workdir.name.startswith("gauss_plain-digits-")


def test_mnist_that_cannot_be_had_is_replaced_loudly_and_under_its_own_name(launch, tmp_path, monkeypatch):
    # A proxy that refuses stands for a machine without a network, wherever the tests run.
    for scheme in ("http", "https", "all"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    command = [config("gauss_plain"), *SMALL, f"--config.data.dir={tmp_path / 'tfds'}"]
    started = time.monotonic()
    status, _, err = launch(*command, "--config.data.substitute=False")
    assert status == 2
    assert "data.name = mnist: cannot be downloaded" in err
    assert time.monotonic() - started < 20
    status, _, err = launch(*command, "--config.data.max_train=256", "--config.generation.num_samples=0")
    assert status == 0
    assert "WARNING: this run trains on mnist_sample instead" in err
    (workdir,) = (tmp_path / "runs").iterdir()
    assert workdir.name.startswith("gauss_plain-mnist_sample-")
    for name in ("config.json", "summary.json"):
        assert "mnist_sample" in (workdir / name).read_text()


@pytest.mark.parametrize("dataset", ["", ":cifar10"])
def test_a_shipped_config_is_found_by_its_bare_name_anywhere_unless_a_file_is_called_so(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = parse(["mtvae", f"--config=gauss_multi{dataset}", "--config.train.epochs=2"]).config
    assert named == parse(["launch.py", config() + dataset, "--config.train.epochs=2"]).config
    (tmp_path / "gauss_multi").write_text((ROOT / "configs" / "vq_plain.py").read_text())
    assert model_name(parse(["mtvae", f"--config=gauss_multi{dataset}"]).config) == "vq_plain"


def test_a_work_directory_alone_goes_on_with_its_run(launch, digits_npz, tmp_path):
    command = [config("vq_plain", f"npz:{digits_npz}"), *SMALL, "--config.prior.epochs=1"]
    command += ["--config.prior.hidden_dim=4", "--config.prior.num_layers=1", "--config.prior.batch_size=64"]
    command += ["--config.generation.num_samples=0"]
    assert launch(*command, f"--workdir={tmp_path / 'run'}")[0] == 0
    status, out, err = launch(f"--workdir={tmp_path / 'run'}")
    assert (status, err) == (0, "")
    assert "model complete: 1 epoch," in out
    assert "prior complete: 1 epoch," in out
    assert "epoch 1/1" not in out  # nothing is trained again

    # Another prior for the same model, kept beside the first.
    status, out, _ = launch(f"--workdir={tmp_path / 'run'}", "--config.prior.hidden_dim=6")
    assert status == 0
    assert out.count("epoch 1/1") == 1
    assert len(list((tmp_path / "run").glob("prior-*"))) == 2


def test_a_value_may_stand_after_a_space_and_an_override_before_the_config():
    arguments = parse(
        ["launch.py", "--config.seed", "3", "--config", str(ROOT / "configs" / "gauss_plain.py"), "--config.loss.beta",
         "-1", "--config.data.substitute", "--workdir", "here"]
    )
    assert (arguments.config.seed, arguments.config.loss.beta, arguments.workdir) == (3, -1.0, Path("here"))


def test_none_is_a_value_and_of_two_the_last_one_counts(tmp_path):
    none = [f"--config.{name}=None" for name in ("prior.epochs", "data.dir", "loss.beta", "model.merge")]
    filled = parse(["launch.py", config(), "--config.prior.epochs=3", "--config.loss.beta=0.5", *none]).config
    assert [filled.prior.epochs, filled.data.dir, filled.loss.beta, filled.model.merge] == [None] * 4
    assert parse(["launch.py", config(), *none, "--config.prior.epochs=3"]).config.prior.epochs == 3
    study = parse(["launch.py", config("thesis", "all"), "--config.seeds=None", "--config.slurm.partition=None"]).config
    assert [study.seeds, study.slurm.partition] == [None] * 2
    check(parse(["launch.py", config(), *none[:3]]).config)


def test_a_tilde_is_the_home_directory_wherever_a_path_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.py").write_text((ROOT / "configs" / "gauss_plain.py").read_text())
    arguments = parse(["launch.py", "--config=~/own.py:cifar10", "--workdir=~/x"])
    assert (arguments.workdir, arguments.config.data.name) == (tmp_path / "x", "cifar10")
    with pytest.raises(UserError, match=rf"^{tmp_path}/x/config.json: does not exist"):
        load("~/x")
    with pytest.raises(UserError, match=rf"^{tmp_path}/x: does not exist"):
        find(["~/x"])
    study = parse(["launch.py", config("thesis", "all"), "--config.earlier=a, ~/b"]).config
    assert earlier_tables(study) == ["a", f"{tmp_path}/b"]


def test_a_config_imports_its_neighbour(tmp_path):
    (tmp_path / "own.py").write_text("from beside_own import get_config\n")
    (tmp_path / "beside_own.py").write_text((ROOT / "configs" / "gauss_plain.py").read_text())
    before = list(sys.path)
    assert parse(["launch.py", f"--config={tmp_path / 'own.py'}:cifar10"]).config.data.name == "cifar10"
    assert sys.path == before


def test_the_version_is_said(capsys):
    assert main(["launch.py", "--version"]) == 0
    assert capsys.readouterr().out == f"mtvae_jax {metadata.version('mtvae-jax')}\n"


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_one_line(platform, digits_npz, tmp_path, monkeypatch):
    if platform == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("there is one")
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    command = ["launch.py", config("gauss_plain", f"npz:{digits_npz}"), *SMALL]
    done = in_a_fresh_process(f"import sys, launch; sys.exit(launch.main({command}))", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"launch.py: JAX_PLATFORMS = {platform}: cannot be used here (")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_codes_without_a_prior_are_trained_and_judged_to_the_end(launch, digits_npz, tmp_path):
    """The README offers prior.epochs 0."""
    command = [config("vq_semi", f"npz:{digits_npz}"), *SMALL, "--config.prior.epochs=0"]
    for _ in range(2):
        status, out, err = launch(*command)
        assert status == 0
        reason = "given pixels (config.prior.epochs = 0 learns no prior)"
        assert f"not to be judged: {reason}\n" in err
        assert f"not judged: {reason}\n" in out
    (workdir,) = (tmp_path / "runs").iterdir()
    assert json.loads((workdir / "generation.json").read_text())["left_out"] == {
        "given_pixels": "config.prior.epochs = 0 learns no prior"
    }


def test_only_a_run_can_be_told_to_finish(capsys):
    config = f"--config={ROOT / 'configs' / 'gauss_plain.py'}"
    assert (parse(["launch.py", config]).finish, parse(["launch.py", config, "--finish"]).finish) == (False, True)
    assert main(["launch.py", f"--config={ROOT / 'configs' / 'thesis.py'}:all", "--finish"]) == 2
    assert capsys.readouterr().err.startswith("launch.py: --finish: ends one run; for a study")
