"""SIGTERM and Ctrl-C: a request while training, one line and status 75 at all other times."""

import os
import signal
import subprocess
import sys
import time

import pytest
from small_runs import ROOT

import launch
from mtvae_jax.process.stopping import Interrupted, StopRequest, interruptible

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def ask(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # where Python looks for signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_request_is_noted_and_the_handlers_of_before_come_back(number):
    before = [signal.getsignal(n) for n in SIGNALS]
    with interruptible():
        with StopRequest() as requested:
            assert not requested()
            ask(number)
            assert requested()
        with pytest.raises(Interrupted):
            ask(number)
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_waits():
    with StopRequest() as requested:
        ask(signal.SIGTERM)
        ask(signal.SIGTERM)
        assert requested()
        with pytest.raises(Interrupted):
            ask(signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_asked_to_stop_while_images_are_judged_it_says_how_to_go_on(number, digits_npz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mtvae_jax.judging.judge.judge", lambda *_, **__: ask(number))
    monkeypatch.setattr("mtvae_jax.training.first_stage.train", lambda *_, **__: {"epochs": 1, "best_epoch": 1})
    monkeypatch.chdir(tmp_path)
    command = ["launch.py", f"--config={ROOT / 'configs' / 'gauss_plain.py'}:npz:{digits_npz}"]
    assert launch.main(command) == 75
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "stopped; the same command goes on"
    assert err == ""


def test_under_nohup_a_terminal_that_closes_is_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(), StopRequest() as requested:
            ask(signal.SIGHUP)
            assert not requested()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


WAIT = "import atexit, pathlib, time\ndef wait(name):\n    pathlib.Path(name).touch()\n    time.sleep(60)\n"
# Before training, as slow imports are; once more in what cleans up, and in what Python does at its own end
SLOW = {
    **{number.name: ([number], "wait('begun')\n") for number in SIGNALS[:3]},
    "again while cleaning up": ([signal.SIGINT] * 2, "try:\n    wait('begun')\nfinally:\n    wait('again')\n"),
    "again while ending": ([signal.SIGINT] * 2, "atexit.register(wait, 'again')\nwait('begun')\n"),
}


@pytest.mark.parametrize(("signals", "program"), SLOW.values(), ids=list(SLOW))
def test_asked_to_stop_outside_training_it_ends_at_once_and_says_how_to_go_on(signals, program, tmp_path):
    (tmp_path / "slow.py").write_text(WAIT + program)
    command = [sys.executable, str(ROOT / "launch.py"), "--config=slow.py"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        for number, name in zip(signals, ("begun", "again"), strict=False):
            deadline = time.monotonic() + 60
            while not (tmp_path / name).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (75, "")
    assert set(out.splitlines()) == {"stopped; the same command goes on"}
