"""The shipped configs from Python, also of a wheel without the repository."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import setuptools
from small_runs import ROOT

from mtvae_jax import configs
from mtvae_jax.cli.command_line import parse
from mtvae_jax.errors import UserError

NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


def test_every_file_is_a_function_with_its_docstring():
    assert configs.names() == dir(configs) == NAMES
    for name in NAMES:
        function = getattr(configs, name)
        assert function.__name__ == name
        assert function.__doc__.splitlines()[0] in (ROOT / "configs" / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_function_gives_what_the_command_line_gives_of_the_file(name):
    theirs = parse(["launch.py", f"--config={ROOT / 'configs' / name}.py"]).config
    assert getattr(configs, name)().to_dict() == theirs.to_dict()


def test_settings_are_given_by_name():
    config = configs.vq_multi(
        "cifar10", train__epochs=2, loss__weights=[1.0, 0.5], model__hidden_dims=8, prior__epochs=None, seed=3
    )
    assert (config.data.name, config.train.epochs, config.loss.weights) == ("cifar10", 2, (1.0, 0.5))
    assert (config.model.hidden_dims, config.prior.epochs, config.seed) == ((8,), None, 3)
    assert configs.thesis("figure_4_2", seeds="3", slurm__gpus=2).slurm.gpus == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"train__epoch": 3}, "config.train.epoch: there is no such field; did you mean config.train.epochs?"),
        ({"train__epochs": "3"}, "config.train.epochs = '3': must be an integer of at least 1"),
        ({"train": 3}, "config.train: there is no such field"),
        ({"loss__weights": None}, "config.loss.weights = None: must be a tuple of numbers"),
    ],
)
def test_a_wrong_setting_is_refused_where_it_is_given(setting, message):
    with pytest.raises(UserError) as refused:
        configs.gauss_multi(**setting)
    assert str(refused.value).startswith(message)


def test_a_config_that_does_not_exist_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'gaus_multi'; the configs are fsq_multi, "):
        _ = configs.gaus_multi


def in_a_process(program, folder, path):
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip


def test_the_public_door_imports_next_to_nothing(tmp_path):
    program = (
        "import mtvae_jax, sys; mtvae_jax.train, mtvae_jax.load, dir(mtvae_jax.configs)\n"
        "print({'jax', 'numpy', 'ml_collections', 'flax'} & set(sys.modules))"
    )
    assert in_a_process(program, tmp_path, ROOT) == "set()\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder of the files that a wheel of the package has."""
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("the installed setuptools is older than pyproject.toml asks for")
    source, folder = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    for name in ("mtvae_jax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "files")
    return folder / "files"


def test_a_wheel_has_the_configs_and_the_command(wheel, tmp_path):
    program = "import mtvae_jax; print(mtvae_jax.__file__, mtvae_jax.configs.gauss_multi('mnist_sample').data.name)"
    assert in_a_process(program, tmp_path, wheel).split() == [str(wheel / "mtvae_jax" / "__init__.py"), "mnist_sample"]
    (about,) = wheel.glob("*.dist-info")
    assert "mtvae = mtvae_jax.cli.main:command" in (about / "entry_points.txt").read_text()
    program = (
        "import sys; from mtvae_jax.cli.main import command\n"
        "sys.argv = ['/bin/mtvae', '--config=vq_multi:mnist_sample', '--help']; sys.exit(command())"
    )
    assert "  latent            vq" in in_a_process(program, tmp_path, wheel)


def test_a_wheel_has_every_module_of_the_package(wheel):
    have = {path.relative_to(wheel / "mtvae_jax").as_posix() for path in (wheel / "mtvae_jax").rglob("*")}
    want = {path.relative_to(ROOT / "mtvae_jax").as_posix() for path in (ROOT / "mtvae_jax").rglob("*.[pnhm]*")}
    assert {path for path in want if "__pycache__" not in path} <= have
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].keys() == {"mtvae"}
