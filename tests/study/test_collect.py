"""The tidy table: a row a set of factors, figures of complete runs alone, nothing of time and place."""

import csv
import json
import shutil

import numpy as np
import pytest
from pyarrow import parquet

from mtvae_jax.errors import UserError
from mtvae_jax.study.catalogue import plan
from mtvae_jax.study.collect import FACTORS, collect, fluctuation, read_earlier, write_csv, write_parquet
from mtvae_jax.study.protocols import PROTOCOLS
from mtvae_jax.study.tasks import make_tasks

SUMMARY = {
    "epochs": PROTOCOLS["quick"].epochs,
    "steps": 50,
    "best_epoch": 3,
    "parameters": {"total": 1000},
    "wall_seconds": 12.5,
    "images_per_second": 99.0,
    "val/loss": 0.5,
    "test/reconstruction": 0.02,
    "test/reconstruction_conditioned": 0.015,
    "test/kl": 32.0,
    "test/active_units": 8,
}


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_tasks(plan("figure_4_2", PROTOCOLS["quick"]), PROTOCOLS["quick"], "runs")


def finish(task, **changes):
    task.workdir.mkdir(parents=True)
    (task.workdir / "summary.json").write_text(json.dumps(SUMMARY | changes))
    records = [{"epoch": epoch, "val/loss": 1.0 / epoch} for epoch in range(1, 9)]
    (task.workdir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_row_a_run_in_the_order_of_the_plan(tasks):
    multi = next(factors for factors in tasks if factors.method == "multi_decoder")
    plain = next(factors for factors in tasks if factors.method == "plain")
    finish(tasks[multi])
    rows = collect(tasks, {tasks[plain].workdir: "it had no memory"}, {})
    assert [tuple(row[name] for name in FACTORS) for row in rows] == [
        tuple(getattr(factors, name) for name in FACTORS) for factors in tasks
    ]
    by_status = {row["status"]: row for row in rows}
    assert set(by_status) == {"complete", "failed", "missing"}
    assert by_status["failed"]["error"] == "it had no memory"
    complete = by_status["complete"]
    assert complete["test/reconstruction"] == 0.02
    assert complete["conditioned_gap"] == pytest.approx(25.0)
    assert complete["kl_per_unit"] == pytest.approx(2.0)
    assert complete["active_share"] == pytest.approx(0.5)
    assert not {"wall_seconds", "images_per_second"} & complete.keys()


def test_a_run_of_fewer_epochs_is_not_complete(tasks):
    factors, task = next(iter(tasks.items()))
    finish(task, epochs=PROTOCOLS["quick"].epochs - 1)
    assert collect({factors: task}, {}, {})[0]["status"] == "missing"


def test_csv_and_parquet_hold_the_same_table(tasks, tmp_path):
    for task in list(tasks.values())[:3]:
        finish(task)
    rows = collect(tasks, {}, {})
    write_csv(rows, tmp_path / "results.csv")
    write_parquet(rows, tmp_path / "results.parquet")
    with open(tmp_path / "results.csv", newline="") as file:
        text = list(csv.DictReader(file))
    typed = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert len(text) == len(typed) == len(rows)
    for row, written, read in zip(rows, text, typed, strict=True):
        assert {name: value for name, value in read.items() if value is not None} == {
            name: value for name, value in row.items() if value is not None
        }
        for name, value in row.items():
            assert written[name] == ("" if value is None else str(value))


def test_runs_that_are_gone_count_from_the_table_of_an_earlier_report(tasks, tmp_path):
    for task in tasks.values():
        finish(task)
    before = collect(tasks, {}, {})
    write_parquet(before, tmp_path / "results.parquet")
    first, second, *_ = tasks.values()
    shutil.rmtree(first.workdir)
    shutil.rmtree(second.workdir)
    finish(second, **{"test/kl": 64.0})  # trained again: what is there counts
    earlier = read_earlier([tmp_path / "results.parquet"])
    now = collect(tasks, {}, earlier)
    assert now[0] == before[0]
    assert now[1]["test/kl"] == 64.0
    assert now[2:] == before[2:]


def test_of_two_earlier_tables_the_first_counts_and_runs_that_failed_do_not(tmp_path):
    row = {"run": "a", "workdir": "runs/a", "status": "complete", "error": None, "seed": 0, "test/kl": 1.0}
    write_parquet([row, row | {"run": "b", "status": "failed"}], tmp_path / "first.parquet")
    write_parquet([row | {"test/kl": 2.0}, row | {"run": "c", "test/kl": 3.0}], tmp_path / "second.parquet")
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    assert read_earlier(paths) == {"a": {"test/kl": 1.0}, "c": {"test/kl": 3.0}}
    assert read_earlier([]) == {}


@pytest.mark.parametrize("content", [None, b"", b"run,status\n", b"PAR1"])
def test_what_is_no_table_is_named(tmp_path, content):
    path = tmp_path / "results.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"config.earlier: .*results.csv is no results.parquet of a study"):
        read_earlier([path])


def test_fluctuation_is_what_is_left_after_a_straight_line():
    straight = np.linspace(3.0, 1.0, 20)
    assert fluctuation(straight) == pytest.approx(0.0, abs=1e-12)
    zigzag = straight + 0.1 * (-1.0) ** np.arange(20)
    assert fluctuation(zigzag) > 5.0
    assert fluctuation(2.0 * zigzag) == pytest.approx(fluctuation(zigzag))
    assert fluctuation(zigzag[:4]) is None
