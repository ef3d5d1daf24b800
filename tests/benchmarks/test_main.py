"""The run of all benchmarks: what it writes, what it leaves out, when it stops."""

import json
import math
import time

import pytest

from benchmarks.__main__ import TimeIsOver, interrupted_after, run
from benchmarks.apart import apart
from benchmarks.images import SHAPES, enlarged, load
from benchmarks.record import Record, Table
from benchmarks.sections import SECTIONS, Sections, Unavailable, Unit


def unit(section, name, result=1):
    def measure():
        if isinstance(result, BaseException):
            raise result
        return {"figure": result}, [Table(f"Table of {section}", "| name |\n|---|", (f"| {n} |" for n in [name]))]

    return Unit(section, name, 0, measure)


def finished(tmp_path, units, deadline=math.inf, clock=time.monotonic):
    record = Record(tmp_path, {"images": "none"})
    run(units, record, deadline, clock=clock, say=lambda *text, **settings: None)
    return json.loads(record.path.read_text()), record.path.with_suffix(".md").read_text()


def test_every_measurement_is_written_and_a_failure_ends_nothing(tmp_path):
    failures = unit("a", "y", ValueError("broken")), unit("b", "z", Unavailable("no GPU"))
    values, text = finished(tmp_path, [unit("a", "x"), *failures, unit("a", "w")])
    assert values["results"] == {"a": {"x": {"figure": 1}, "w": {"figure": 1}}}
    assert values["left_out"] == {"a, y": "ValueError: broken", "b, z": "no GPU"}
    assert "## Table of a\n\n| name |\n|---|\n| x |\n| w |" in text
    assert "ValueError: broken: a, y." in text
    assert values["device"] in text


def test_what_would_outlast_the_time_is_not_begun_and_shorter_ones_are(tmp_path):
    now = 0.0

    def slow():
        nonlocal now
        now += 60.0
        return unit("slow", "").measure()

    units = [Unit("slow", "first", 0, slow), Unit("slow", "second", 0, slow), unit("quick", "third")]
    values, _ = finished(tmp_path, units, deadline=100.0, clock=lambda: now)
    done = {section: list(figures) for section, figures in values["results"].items()}
    assert done == {"slow": ["first"], "quick": ["third"]}
    assert values["left_out"] == {"slow, second": "no time left"}


def test_a_measurement_under_way_is_cut_off_when_the_time_is_over(tmp_path):
    units = [unit("a", "x"), Unit("a", "y", 0, lambda: time.sleep(30)), unit("b", "z")]
    start = time.monotonic()
    with interrupted_after(0.5):
        values, _ = finished(tmp_path, units, deadline=start + 0.5, clock=time.monotonic)
    assert time.monotonic() - start < 5
    assert values["results"].keys() == {"a"}
    assert values["left_out"] == {"a, y": "begun, but no time left", "b, z": "no time left"}


def test_the_interruption_is_over_with_the_block():
    with interrupted_after(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(TimeIsOver), interrupted_after(0.05):
        time.sleep(5)


def test_the_most_important_come_first():
    units = Sections(dict.fromkeys(SHAPES), [], quick=False).units(SECTIONS)
    assert units[0].section == "ceilings"
    assert [u.name for u in units[1:3]] == ["gauss_multi, 28×28×1", "vq_multi, 28×28×1"]
    assert {u.section for u in units} == {"ceilings", *SECTIONS}
    names = [(u.section, u.name) for u in units]
    assert len(set(names)) == len(names)
    for section in ("training", "parts", "evaluation"):
        assert sum(u.section == section for u in units) == 8 * 3


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


def test_a_process_apart_returns_raises_and_can_die():
    assert apart(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        apart(divmod, 1, 0)
    with pytest.raises(RuntimeError, match="status 7"):
        apart(_die, 7)


def _die(status):
    import os

    os._exit(status)
