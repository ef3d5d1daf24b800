"""`mtvae_jax.train`: the command's run from Python, in a process with a mind of its own."""

import json
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest
from small_runs import ROOT

import launch
import mtvae_jax
from mtvae_jax.errors import UserError
from mtvae_jax.training.loop import Stopped

SMALL = {
    "data__max_train": 256, "train__epochs": 2, "train__batch_size": 32, "train__figures_every": 0,
    "model__hidden_dims": (4, 8), "model__latent_dim": 4, "prior__epochs": 1, "prior__batch_size": 32,
    "prior__hidden_dim": 4, "generation__num_samples": 20, "generation__num_images": 8, "generation__draws": 2,
}  # fmt: skip


def small(**overrides):
    return mtvae_jax.configs.gauss_multi("mnist_sample", **SMALL | overrides)


def flags(settings):
    for name, value in settings.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        yield f"--config.{name.replace('__', '.')}={text}"


def hashes(folder):
    paths = [folder / "summary.json", *folder.glob("prior-*/summary.json")]
    return [json.loads(path.read_text())["parameters_sha256"] for path in paths]


def files(folder):
    """But for those to which others give names of no meaning."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {path for path in paths if not {"tensorboard", "d"} & set(path.parts)}


@pytest.fixture
def handlers():
    """Asserts that all signals are handled as before."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_the_run_of_the_command_to_the_bit_in_a_process_that_has_set_jax_otherwise(in_folder, capfd, handlers):
    command = ["launch.py", f"--config={ROOT / 'configs' / 'gauss_multi.py'}:mnist_sample"]
    assert launch.main([*command, *flags(SMALL)]) == 0
    (theirs,) = (in_folder / "runs").iterdir()
    theirs = theirs.rename(in_folder / "theirs")
    said = capfd.readouterr().out

    cache, backend = jax.config.jax_compilation_cache_dir, os.environ.pop("MPLBACKEND", None)
    with jax.enable_x64(True), jax.default_prng_impl("rbg"):
        model = mtvae_jax.train(small())
        assert jax.numpy.ones(1, "float64").dtype == "float64"  # still as they have it
    assert (jax.config.jax_compilation_cache_dir, os.environ.get("MPLBACKEND")) == (cache, None)
    if backend is not None:
        os.environ["MPLBACKEND"] = backend
    (ours,) = (in_folder / "runs").iterdir()
    assert hashes(ours) == hashes(theirs)
    assert len(hashes(ours)) == 2
    assert files(ours) == files(theirs)
    assert json.loads((ours / "generation.json").read_text()) == json.loads((theirs / "generation.json").read_text())
    lines = capfd.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [line.split("  ")[0] for line in said.splitlines()]
    assert model.reconstruct(np.zeros((1, 28, 28, 1), np.uint8)).shape == (1, 28, 28, 1)

    again = mtvae_jax.train(model.config, str(ours), progress=False)  # complete: loaded
    assert again.step == model.step
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("error")
def test_without_progress_it_is_silent_and_in_a_thread_it_trains(in_folder, capfd):
    models, config = [], small(prior__epochs=0, train__epochs=1)
    with_thread = threading.Thread(
        target=lambda: models.append(mtvae_jax.train(config, "run", progress=False))
    )
    with_thread.start()
    with_thread.join()
    assert models[0].step == 8
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: "gauss_multi", "config: is of type str; must be a config, as mtvae_jax.configs.gauss_multi() makes"),
        (lambda: mtvae_jax.configs.thesis("all"), "config: is of a study"),
        (lambda: small(loss__weights=1.0), "config.loss.weights = (1.0,): multi_decoder has 2 decoders, so must be 2"),
        (lambda: small(data__name="npz:nowhere.npz"), "npz:nowhere.npz: no such file"),
    ],
)
def test_a_mistake_is_an_exception_with_the_message_of_the_command(config, message, in_folder):
    with pytest.raises(UserError) as refused:
        mtvae_jax.train(config())
    assert str(refused.value).startswith(message)
    assert not list(in_folder.iterdir())


def ask(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # where Python looks for signals


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_and_is_an_interrupt_and_the_same_call_goes_on(times, in_folder, capsys, handlers, monkeypatch):
    config = small(prior__epochs=0, generation__num_samples=0)
    from mtvae_jax.training import step

    program, calls = step.TrainingProgram.__call__, []

    def interrupted(self, *arguments):
        calls.append(None)
        for _ in range(times if len(calls) == 2 else 0):
            ask(signal.SIGINT)
        return program(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step.TrainingProgram, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mtvae_jax.train(config, "run")
    assert "the same call goes on (run)" in capsys.readouterr().out
    if times == 2:  # at once, without saving
        return
    resumed = mtvae_jax.train(config, "run", progress=False)
    assert resumed.step == mtvae_jax.train(config, "undisturbed", progress=False).step
    assert hashes(in_folder / "run") == hashes(in_folder / "undisturbed")


def test_another_signal_goes_on_to_whoever_heeds_it_once_the_run_is_saved(in_folder, monkeypatch):
    heard = []

    def stopped(*_, stop_requested, **__):
        ask(signal.SIGUSR1)
        assert stop_requested()
        assert not heard
        raise Stopped

    monkeypatch.setattr("mtvae_jax.training.first_stage.train", stopped)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            mtvae_jax.train(small(), progress=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_that_the_sample_takes_the_place_of_mnist_is_a_warning_even_of_a_silent_run(in_folder, monkeypatch):
    from mtvae_jax.cli import prepare
    from mtvae_jax.data import DatasetUnavailable

    load = prepare.load_dataset

    def offline(name, **how):
        if name == "mnist":
            raise DatasetUnavailable("data.name = mnist: cannot be downloaded")
        return load(name, **how)

    monkeypatch.setattr(prepare, "load_dataset", offline)
    monkeypatch.setattr("mtvae_jax.cli.from_python.carry_out", lambda *_, **__: None)
    monkeypatch.setattr("mtvae_jax.cli.from_python.load", lambda workdir: workdir)
    with pytest.warns(UserWarning, match="mnist: cannot be downloaded this run trains on mnist_sample") as warned:
        workdir = mtvae_jax.train(small(data__name="mnist"), progress=False)
    assert [warning.filename for warning in warned] == [__file__]  # their own line
    assert "mnist_sample" in str(workdir)
