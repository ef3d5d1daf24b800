"""A few kills of real runs, where they hurt most; `python -m tests.torture` has the many at random moments."""

import signal
from pathlib import Path

import pytest

from tests.torture.blow import Attempt, Blow, draw, stopped_well
from tests.torture.kinds import kinds, write_data
from tests.torture.outcome import differences
from tests.torture.torture import Result, table, torture

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def available(tmp_path_factory):
    path = tmp_path_factory.mktemp("torture") / "digits.npz"
    write_data(path)
    return kinds(path, epochs=4)


def test_a_run_killed_and_stopped_where_it_hurts_ends_with_the_same_bits(available, tmp_path):
    """In a figure, in a save, as its stages change, and in a save of the second stage."""
    kind = available["second_stage"]
    (tmp_path / "cache").symlink_to(Path(__file__).parent.parent.parent / ".pytest_cache" / "xla")
    places = ["figure", "saving", "change of stage", "saving of the second stage"]
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT]
    blows = [Blow(number, 0.0, kind.targets[place]) for number, place in zip(signals, places, strict=True)]
    result = torture(kind, tmp_path, kills=0, blows=blows, undisturbed=1)
    assert result.wrong == []
    assert result.runs >= 1
    assert (result.kills, result.stops, result.restarts) == (2, 2, 4)


def test_what_a_table_says(tmp_path):
    where = {"saving": 1, "training": 2}
    good = Result("vq", kills=3, stops=1, restarts=4, runs=2, where=where, seconds=61.4, done=True)
    bad = Result("gauss", wrong=["run 0: metrics differs"], done=True)
    lines = table([good, bad, Result("study")])
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == ["vq", "3", "1", "4", "2", "training 2, saving 1", "yes", "61"]
    assert "| no " in lines[3]
    assert "| not done yet " in lines[4]
    assert lines[5:] == ["gauss: run 0: metrics differs"]
    assert differences({"a": 1, "b": 2}, {"a": 1, "c": 2}) == ["b", "c"]


def test_moments_are_drawn_anew_for_each_process_and_again_for_the_same_one(available):
    drawn = [draw(available["gauss"], 9.0, seed=f"0 gauss {number}") for number in range(300)]
    assert drawn == [draw(available["gauss"], 9.0, seed=f"0 gauss {number}") for number in range(300)]
    assert len(set(drawn)) == 300
    assert {blow.signal for blow in drawn} == {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
    assert {blow.target for blow in drawn} == {None, *available["gauss"].targets.values()}
    assert max(blow.after for blow in drawn if blow.target is None) > 8


@pytest.mark.parametrize(
    ("number", "where", "status", "out", "err", "well"),
    [
        (signal.SIGTERM, "training", 75, "stopped; the same command goes on", "", True),
        (signal.SIGTERM, "training", 75, "", "", False),
        (signal.SIGTERM, "training", 1, "the same command goes on", "", False),
        (signal.SIGINT, "training", 130, "the same command goes on", "", True),
        (signal.SIGINT, "training", 75, "the same command goes on", "Traceback", False),
        (signal.SIGTERM, "start-up", -15, "", "", True),
        (signal.SIGTERM, "the end", -15, "model complete", "", True),
        (signal.SIGTERM, "training", -15, "", "", False),
    ],
)
def test_a_stop_must_save_and_say_how_to_go_on(number, where, status, out, err, well):
    assert stopped_well(Attempt(status, Blow(number, 0.0), where, out, err, 1.0)) == well
