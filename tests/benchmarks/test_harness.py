"""What benchmarks share: what a run writes, what it leaves out, when it ends; tables; models; processes."""

import io
import itertools
import json
import math
import re
import time

import pytest

from benchmarks import gpu_bundle, harness, processes
from benchmarks.__main__ import BENCHMARKS, rank
from benchmarks.harness import Record, Table, Unit, run
from benchmarks.models import SHAPES, Model, enlarged, load
from benchmarks.processes import Team, serve
from mtvae_jax.methods import METHODS

RECORDED = harness.RESULTS / "1-cpu-x86_64-2026-11-25.json"


def unit(section, name, result=1):
    def measure():
        if isinstance(result, Exception):
            raise result
        return {"figure": result}

    return Unit(section, name, measure, (Table(f"Table of {section}", ("name", "figure"), rows),))


def rows(name, figures):
    yield name, figures["figure"]


def finished(tmp_path, units, deadline=math.inf, **settings):
    record = Record(tmp_path, "a_b", units, images="none")
    failed = run(units, record, deadline, **settings)
    return json.loads(record.path.read_text()), record.path.with_suffix(".md").read_text(), failed


def test_every_measurement_is_written_and_a_failure_ends_nothing(tmp_path):
    units = [unit("a", "x"), unit("a", "y", ValueError("broken")), unit("a", "w", 2)]
    values, text, failed = finished(tmp_path, units)
    assert failed
    assert values["results"] == {"a": {"x": {"figure": 1}, "w": {"figure": 2}}}
    assert values["left_out"] == {"a, y": "ValueError: broken"}
    assert "## Table of a\n\n| name | figure |\n|---|---|\n| x | 1 |\n| w | 2 |" in text
    assert "ValueError: broken: a, y." in text
    assert {"device", "date", "versions", "cores", "images"} < set(values)
    assert [path.name for path in tmp_path.glob("a-b-*.json")]


def test_what_would_outlast_the_time_is_not_begun_and_shorter_ones_are(tmp_path):
    now = 0.0

    def slow():
        nonlocal now
        now += 60.0
        return {"figure": 1}

    units = [Unit("slow", "first", slow, ()), Unit("slow", "second", slow, ()), unit("quick", "third")]
    values, *_ = finished(tmp_path, units, deadline=100.0, clock=lambda: now)
    done = {section: list(figures) for section, figures in values["results"].items()}
    assert done == {"slow": ["first"], "quick": ["third"]}
    assert values["left_out"] == {"slow, second": "no time left"}


def test_the_end_comes_in_mid_measurement_and_the_record_is_right_by_then(tmp_path):
    seen = []

    def end(status):
        (path,) = tmp_path.glob("*.json")
        seen.append((status, json.loads(path.read_text())))

    units = [unit("a", "x"), Unit("a", "y", lambda: time.sleep(1.5), ()), unit("b", "z")]
    finished(tmp_path, units, deadline=time.monotonic() + 0.5, end=end)
    ((status, values),) = seen
    assert status == 0
    assert list(values["results"]) == ["a"]
    assert values["left_out"] == {"a, y": "no time left", "b, z": "no time left"}


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_recorded_figures_give_the_recorded_tables(benchmark):
    """So that records can be read side by side. Names of models and sizes had a column each."""
    recorded = re.sub(r" \| (\d+×\d+×\d+)", r", \1", RECORDED.with_suffix(".md").read_text()).splitlines()
    for name, figures in json.loads(RECORDED.read_text())["results"][benchmark.name].items():
        if benchmark.name in ("start", "replicates", "scaling"):  # whose tables did not name the size
            name = name.partition(",")[0]
        for table in benchmark.tables:
            lines = table.lines(name, figures)
            assert lines
            if benchmark.name == "scaling":  # nor the model
                lines = [line.replace(f"| {name} ", "", 1) for line in lines]
            assert set(lines) <= set(recorded)
            assert {line.count("|") for line in table.header()} == {len(table.columns) + 1}


def test_the_most_important_come_first():
    models = [Model(*which) for which in itertools.product(("gaussian", "vq"), METHODS, SHAPES)]
    pairs = [pair for pair in itertools.product(BENCHMARKS, models) if pair[0].per_model and rank(*pair) is not None]
    order = sorted((rank(*pair), pair[0].name, pair[1].full_name) for pair in pairs)
    assert [name for place, _, name in order if place == 0] == ["gauss_multi, 28×28×1", "vq_multi, 28×28×1"] * 4
    for section in ("training", "parts", "evaluation"):
        assert sum(name == section for _, name, _ in order) == 8 * 3
    assert sum(name == "scaling" for _, name, _ in order) == 1
    bfloat16 = Model("gaussian", "multi_decoder", precision="bfloat16")
    assert {rank(benchmark, bfloat16) for benchmark in BENCHMARKS if benchmark.per_model} == {None}  # on CPUs


def test_images_are_of_the_shape_and_differ():
    for shape in SHAPES:
        pictures, what = load(shape)
        assert pictures.shape[1:] == shape
        assert pictures.dtype == "uint8"
        assert what.startswith("mnist_sample")
        assert len({image.tobytes() for image in pictures[:50]}) == 50


def test_images_are_enlarged_pixel_by_pixel(digits):
    large = enlarged(digits[:3], (56, 56, 3))
    for channel in range(3):
        corner = large[:, ::2, ::2, channel]
        assert (corner == large[:, 1::2, 1::2, channel]).all()
        assert ((corner > 0) <= (digits[:3, ..., 0] > 0)).all()
        assert corner.max() > 90


def test_a_process_trains_as_told_and_says_its_peak(monkeypatch, capsys):
    steps = []
    monkeypatch.setattr(processes.sys, "stdin", io.StringIO("3\n5\n"))
    serve(steps.append, {"parameters": 7}, lambda: 11)
    assert steps == [1, 3, 5]
    assert capsys.readouterr().out == '{"parameters": 7}\n{"peak_bytes": 11}\n{"peak_bytes": 11}\n'
    with pytest.raises(RuntimeError, match=r"json\.tool no-such-file ended with status \d"):
        Team([(["json.tool", "no-such-file"], {})]).__enter__()


def test_a_bundle_knows_its_commit_and_asks_for_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_bundle.subprocess, "run", lambda *command, **settings: None)  # downloads wheels
    monkeypatch.setattr(gpu_bundle.environment, "versions", lambda: {"mtvae-jax": "0.1.0+gabc"})
    assert gpu_bundle.pack(tmp_path / "bundle") > 10**6
    assert '__version__ = "0.1.0+gabc"' in (tmp_path / "bundle" / "code" / "mtvae_jax" / "__init__.py").read_text()
    lines = (tmp_path / "bundle" / "requirements.txt").read_text().splitlines()
    asked = [re.match(r"[\w-]+", line)[0] for line in lines]
    assert {"jax", "flax", "optax", "orbax-checkpoint", *gpu_bundle.WHEELS} <= set(asked)
    assert not set(gpu_bundle.FOR_DOWNLOADS) & set(asked)
