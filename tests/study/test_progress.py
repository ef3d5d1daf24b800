"""What a study says of itself, under a clock of the test's own."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtvae_jax.study.attempt import Outcome
from mtvae_jax.study.progress import StudyProgress


def task(number, latent="vq"):
    config = SimpleNamespace(
        data=SimpleNamespace(name="mnist"), model=SimpleNamespace(latent=latent, method="plain")
    )
    return SimpleNamespace(workdir=Path(f"run{number}"), name=f"{latent}_plain, seed {number}", config=config)


def progress_of(tasks):
    now, stream = [0.0], io.StringIO()
    return now, stream, StudyProgress(tasks, stream=stream, clock=lambda: now[0])


def test_time_left_counts_kinds_by_their_own_duration():
    tasks = [task(0), task(1), task(2, "gaussian"), task(3, "gaussian")]
    now, stream, progress = progress_of(tasks)
    assert progress.seconds_left() is None
    now[0] = 100.0
    progress.done(Outcome(Path("run0"), None, 100.0))
    assert progress.seconds_left() == pytest.approx(300.0)  # nothing else is known of the Gaussian ones
    now[0] = 120.0
    progress.done(Outcome(Path("run2"), None, 20.0))
    assert progress.seconds_left() == pytest.approx(100.0 + 20.0)
    assert stream.getvalue().splitlines()[-1] == "2/4  mnist: gaussian_plain, seed 2: 20 s; 2 min left"


def test_two_runs_at_the_same_time_take_half_the_time():
    now, _, progress = progress_of([task(i) for i in range(6)])
    now[0] = 100.0
    progress.done(Outcome(Path("run0"), None, 100.0))
    progress.done(Outcome(Path("run1"), None, 100.0))
    assert progress.seconds_left() == pytest.approx(200.0)


def test_a_failure_is_said_and_tells_nothing_of_durations():
    now, stream, progress = progress_of([task(0), task(1)])
    now[0] = 3.0
    progress.done(Outcome(Path("run0"), "no memory", 3.0))
    assert stream.getvalue() == "1/2  mnist: vq_plain, seed 0: FAILED: no memory\n"
    assert progress.seconds_left() is None
