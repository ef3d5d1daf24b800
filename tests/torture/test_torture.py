"""A few kills of real runs, where they hurt most; `python -m tests.torture` has the many at random moments."""

import json
import signal
from pathlib import Path

import pytest

from tests.torture.blow import Attempt, Blow, draw, stopped_well
from tests.torture.kinds import kinds, write_data
from tests.torture.outcome import differences
from tests.torture.torture import Result, table, torture

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("torture") / "digits.npz"
    write_data(path)
    return path


@pytest.fixture(scope="module")
def available(data):
    return kinds(data, epochs=4)


def kill(kind, target, count=1):
    return Blow(signal.SIGKILL, 0.002, kind.targets[target], count)


def torture_once(kind, blows, folder):
    folder.mkdir()
    (folder / "cache").symlink_to(Path(__file__).parent.parent.parent / ".pytest_cache" / "xla")
    result = torture(kind, folder, kills=0, blows=blows, undisturbed=1)
    assert result.wrong == []
    assert result.runs >= 1
    return result


def test_a_run_killed_in_a_save_and_a_figure_and_stopped_ends_with_the_same_bits(available, tmp_path):
    kind = available["gauss"]
    stops = [Blow(number, 0.0, kind.targets["saving"]) for number in (signal.SIGTERM, signal.SIGINT)]
    blows = [kill(kind, "saving"), *stops, kill(kind, "figure")]
    result = torture_once(kind, blows, tmp_path / "gauss")
    assert (result.kills, result.stops, result.restarts) == (2, 2, 4)


def test_a_run_killed_as_its_stages_change_ends_with_the_same_bits(data, tmp_path):
    kind = kinds(data, epochs=4, figures=False)["second_stage"]
    blows = [kill(kind, "change of stage"), kill(kind, "saving of the second stage")]
    result = torture_once(kind, blows, tmp_path / "second_stage")
    assert (result.kills, result.restarts) == (2, 2)


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


def test_a_call_that_was_stopped_goes_on(available, tmp_path):
    done = Result("gauss", kills=7, runs=3, done=True)
    (tmp_path / "unbroken.json").write_text(json.dumps({"outcome": {}, "seconds": 1.0}))
    (tmp_path / "result.json").write_text(json.dumps(vars(done)))
    assert torture(available["gauss"], tmp_path, kills=50).kills == 7
