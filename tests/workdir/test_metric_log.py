"""metrics.jsonl and TensorBoard events, checked with json and with a reader of event files written here."""

import json
import math
import struct

import numpy as np
import pytest

from mtvae_jax.errors import UserError
from mtvae_jax.workdir.metric_log import MetricLog, read_metrics


def record(epoch, **values):
    return {"epoch": epoch, "step": 10 * epoch, "val/loss": 1 / epoch, **values}


def write_run(workdir, epochs, **options):
    with MetricLog(workdir, trackers=(), **options) as log:
        for epoch in epochs:
            log.write(record(epoch))


def lines(workdir):
    return (workdir / "metrics.jsonl").read_text().splitlines()


def events(workdir):
    """All events in the order TensorBoard reads them: [length u64][crc][data][crc], files by name."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[12 + length + 4 :]
    return found


def scalars_shown(workdir):
    """Tag to {step: value}, with TensorBoard's rule that a session start makes it forget that step and later ones."""
    shown = {}
    for event in events(workdir):
        if event.HasField("session_log"):
            shown = {tag: {s: v for s, v in series.items() if s < event.step} for tag, series in shown.items()}
        for value in event.summary.value:
            if value.HasField("simple_value"):
                shown.setdefault(value.tag, {})[event.step] = value.simple_value
    return shown


def test_each_line_is_strict_json_on_disk_as_soon_as_it_is_written(tmp_path):
    log = MetricLog(tmp_path, trackers=())
    for epoch in (1, 2):
        log.write(record(epoch))
        assert [json.loads(line) for line in lines(tmp_path)] == [record(e) for e in range(1, epoch + 1)]
    log.close()
    assert log.records == read_metrics(tmp_path) == [record(1), record(2)]


def test_values_that_are_not_finite_are_strings_in_the_file_and_floats_when_read(tmp_path):
    with MetricLog(tmp_path, trackers=()) as log:
        log.write(record(1, **{"train/loss": math.nan, "val/kl": math.inf, "val/vq": [1.0, -math.inf]}))

    def refuse(constant):
        raise AssertionError(constant)

    written = json.loads(lines(tmp_path)[0], parse_constant=refuse)
    assert (written["train/loss"], written["val/kl"], written["val/vq"]) == ("nan", "inf", [1.0, "-inf"])
    (read,) = read_metrics(tmp_path)
    assert math.isnan(read["train/loss"])
    assert read["val/kl"] == math.inf
    assert read["val/vq"] == [1.0, -math.inf]


def test_numpy_scalars_are_written_as_numbers(tmp_path):
    with MetricLog(tmp_path, trackers=()) as log:
        log.write({"epoch": np.int64(1), "step": np.int32(7), "a": np.float32(0.1), "b": np.array(2.5), "c": np.True_})
    assert json.loads(lines(tmp_path)[0]) == {"epoch": 1, "step": 7, "a": float(np.float32(0.1)), "b": 2.5, "c": True}


def test_resumed_run_has_every_epoch_once(tmp_path):
    write_run(tmp_path, [1, 2, 3, 4])
    write_run(tmp_path, [3, 4, 5], resume_epoch=2)
    assert [r["epoch"] for r in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    with MetricLog(tmp_path, trackers=(), resume_epoch=5) as log:
        assert log.records == [record(epoch) for epoch in range(1, 6)]


def test_starting_over_forgets_everything(tmp_path):
    write_run(tmp_path, [1, 2, 3])
    write_run(tmp_path, [1])
    assert read_metrics(tmp_path) == [record(1)]


@pytest.mark.parametrize("cut", range(1, len(json.dumps(record(3))) + 1))
def test_a_last_line_torn_anywhere_costs_nothing_that_was_whole(tmp_path, cut):
    write_run(tmp_path, [1, 2, 3])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 3 if cut == 1 else 2  # only the line break is missing
    assert [r["epoch"] for r in read_metrics(tmp_path)] == list(range(1, whole + 1))
    write_run(tmp_path, [whole + 1], resume_epoch=whole)
    assert [json.loads(line)["epoch"] for line in lines(tmp_path)] == list(range(1, whole + 2))


@pytest.mark.parametrize("tail", [b"\0\0\0\0", b"\xff\xfe", b"12", b"{}", b"\n\n"])
def test_a_last_line_of_garbage_is_dropped(tmp_path, tail):
    write_run(tmp_path, [1, 2])
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(tail)
    write_run(tmp_path, [3], resume_epoch=2)
    assert [json.loads(line)["epoch"] for line in lines(tmp_path)] == [1, 2, 3]


def test_opening_leaves_the_old_file_until_the_new_one_is_whole(tmp_path, monkeypatch):
    write_run(tmp_path, [1, 2, 3])
    before = lines(tmp_path)

    def power_cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mtvae_jax.workdir.metric_log.os.replace", power_cut)
    with pytest.raises(KeyboardInterrupt):
        MetricLog(tmp_path, trackers=(), resume_epoch=1)
    assert lines(tmp_path) == before


def test_a_second_line_for_an_epoch_replaces_the_first(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "a": 1}\n{"epoch": 2, "a": 2}\n{"epoch": 1, "a": 3}\n')
    assert read_metrics(tmp_path) == [{"epoch": 1, "a": 3}, {"epoch": 2, "a": 2}]


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_epoch_is_not_written_twice(tmp_path, epoch):
    with MetricLog(tmp_path, trackers=()) as log:
        log.write(record(2))
        with pytest.raises(ValueError, match=f"epoch {epoch} "):
            log.write(record(epoch))
    assert len(lines(tmp_path)) == 1


def test_damage_in_the_middle_names_file_and_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: .*restore") as error:
        read_metrics(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_run_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.jsonl: no such file"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("blocked", ["metrics.jsonl", "tensorboard"])
def test_a_path_that_cannot_be_written_is_the_users_mistake(tmp_path, blocked):
    if blocked == "tensorboard":
        (tmp_path / blocked).write_text("a file where a folder should be")
    else:
        (tmp_path / blocked).mkdir()
    with pytest.raises(UserError, match=f"{blocked}: cannot be written") as error:
        MetricLog(tmp_path)
    assert "\n" not in str(error.value)


def test_events_hold_the_floats_at_their_steps(tmp_path):
    with MetricLog(tmp_path) as log:
        log.write(record(1, note="text", epochs_without_progress=3))
        log.write(record(2, **{"train/loss": math.nan}))
    shown = scalars_shown(tmp_path)
    assert shown["val/loss"] == {10: 1.0, 20: 0.5}
    assert math.isnan(shown.pop("train/loss")[20])
    assert set(shown) == {"val/loss"}


def test_resumed_events_show_every_step_once(tmp_path):
    with MetricLog(tmp_path) as log:
        for epoch in (1, 2, 3):
            log.write(record(epoch))
    with MetricLog(tmp_path, resume_epoch=2) as log:  # within the same second, as a quick restart may be
        log.write(record(3, **{"val/loss": 7.0}))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert scalars_shown(tmp_path) == {"val/loss": {10: 1.0, 20: 0.5, 30: 7.0}}
    assert [e.step for e in events(tmp_path) if e.HasField("session_log")] == [0, 21]


def test_images_reach_the_events_from_a_file_and_from_a_figure(tmp_path):
    from io import BytesIO

    from PIL import Image

    from mtvae_jax import figures

    picture = np.zeros((5, 4, 3), np.uint8)
    picture[1, 2] = 255, 0, 10
    Image.fromarray(picture).save(tmp_path / "picture.png")
    with MetricLog(tmp_path) as log:
        log.image("file", tmp_path / "picture.png", 4)
        log.image("figure", figures.samples(np.full((1, 8, 8, 1), 0.5)), 5)
    images = {v.tag: (e.step, Image.open(BytesIO(v.image.encoded_image_string)))
              for e in events(tmp_path) for v in e.summary.value}
    step, decoded = images["file"]
    assert step == 4
    np.testing.assert_array_equal(np.asarray(decoded), picture)
    step, decoded = images["figure"]
    assert step == 5
    assert (np.asarray(decoded) == 127).all(axis=-1).mean() > 0.5


def test_without_trackers_there_are_no_events_and_images_are_ignored(tmp_path):
    with MetricLog(tmp_path, trackers=()) as log:
        log.image("nothing", "missing.png", 1)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
