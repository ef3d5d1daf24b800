"""The progress line with a clock and streams of our own; a small terminal emulator says what a person would see."""

import io
import os
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtvae_jax.process.progress import Progress, counted, duration

VALIDATION = {
    "val/loss": 0.0223, "val/reconstruction": 0.013, "val/reconstruction_conditioned": 0.0101, "val/kl": 17.62,
    "val/vq": 0.004, "val/perplexity": 97.3, "val/bits_per_dim": -1.25, "val/psnr": 21.0, "val/ssim": 0.9,
}  # fmt: skip
METRICS = {"train/loss": 0.0214, "train/reconstruction": 0.0128, **VALIDATION}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    """A terminal of 200 columns; call it for another width."""
    def resize(width):
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((width, 24)))

    monkeypatch.setenv("TERM", "xterm")
    resize(200)
    return resize


def screen(written, width=10**6):
    """The lines on a terminal that understands \\r, \\n and erase-to-end-of-line, and wraps at `width`."""
    lines, row, column = [[]], 0, 0
    for token in re.findall(r"\x1b\[K|.|\n", written.replace("\r", "\x01")):
        if token == "\x01":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            lines.append([])
        elif token == "\x1b[K":
            del lines[row][column:]
        else:
            if column == width:
                row, column = row + 1, 0
                lines.append([])
            lines[row][column : column + 1] = token
            column += 1
    return ["".join(line) for line in lines]


def run(progress, clock, epochs, seconds, metrics=METRICS):
    for epoch in epochs:
        clock.now += seconds
        progress.epoch_end(epoch=epoch, metrics=metrics, images_per_second=4480.4, is_best=False)


def eta(line):
    """Seconds of the last ETA in `line`."""
    hours, minutes, seconds = re.findall(r"ETA (\d+):(\d\d):(\d\d)", line)[-1]
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def test_the_line_of_an_epoch(clock):
    stream = io.StringIO()
    progress = Progress(total_epochs=100, steps_per_epoch=10, stream=stream, clock=clock)
    clock.now += 7.75
    metrics = {"train/loss": 0.0214, "val/loss": 0.0223, "val/reconstruction": 0.013,
               "val/reconstruction_conditioned": 0.0101, "val/kl": 17.62, "train/kl": 3.0}
    progress.epoch_end(epoch=3, metrics=metrics, images_per_second=4480.4, is_best=True)
    assert stream.getvalue() == (
        "epoch   3/100  train loss 0.02140  val loss 0.02230  rec 0.01300  rec|m 0.01010  KL 17.62  "
        "4,480 images/s  ETA 0:12:32  * best\n"
    )


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.000"), (1234.5, "1234"), (123456.0, "1.23e+05"),
                                              (2e-5, "2.00e-05"), (-1.25, "-1.250"), (float("nan"), "nan")])
def test_numbers_have_four_digits(clock, value, shown):
    stream = io.StringIO()
    progress = Progress(total_epochs=1, steps_per_epoch=1, stream=stream, clock=clock)
    progress.epoch_end(epoch=1, metrics={"val/loss": value}, images_per_second=None, is_best=False)
    assert stream.getvalue() == f"epoch 1/1  val loss {shown}\n"


def test_a_log_file_gets_one_plain_line_an_epoch(clock):
    stream = io.StringIO()
    progress = Progress(total_epochs=3, steps_per_epoch=10, stream=stream, clock=clock)
    for epoch in (1, 2, 3):
        for step in range(10):
            clock.now += 1
            progress.update(epoch=epoch, step_in_epoch=step, metrics={}, images_per_second=1.0)
        progress.epoch_end(epoch=epoch, metrics=METRICS, images_per_second=1.0, is_best=False)
    progress.close()
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == [f"epoch {e}/3" for e in (1, 2, 3)]
    assert not set("\r\x1b") & set(stream.getvalue())
    assert "SSIM" in stream.getvalue()  # a file is as wide as it takes


def test_a_long_epoch_gives_a_log_file_a_sign_of_life_a_minute(clock):
    stream = io.StringIO()
    progress = Progress(total_epochs=2, steps_per_epoch=250, stream=stream, clock=clock)
    for step in range(1, 251):
        clock.now += 1
        progress.update(epoch=1, step_in_epoch=step, metrics={"train/loss": 0.5}, images_per_second=10.0)
    beats = stream.getvalue().splitlines()
    assert [int(re.search(r"(\d+) %", line)[1]) for line in beats] == [24, 48, 72, 96]
    assert "train loss 0.5000" in beats[0]


def test_a_terminal_shows_one_line_rewritten_in_place(clock):
    stream = Terminal()
    progress = Progress(total_epochs=2, steps_per_epoch=4, stream=stream, clock=clock)
    for step, metrics in ((1, {"train/loss": 0.123456, "train/kl": 17.0}), (2, {"train/loss": 0.1}), (3, {})):
        clock.now += 1
        progress.update(epoch=1, step_in_epoch=step, metrics=metrics, images_per_second=10.0)
        (line,) = screen(stream.getvalue())
        assert line.startswith(f"epoch 1/2   {25 * step} %")
        assert re.search(r"images/s  ETA \d:\d\d:\d\d$", line)
        assert ("KL" in line) == ("train/kl" in metrics)
    progress.epoch_end(epoch=1, metrics={"val/loss": 1.0}, images_per_second=None, is_best=False)
    assert screen(stream.getvalue()) == ["epoch 1/2  val loss 1.000  ETA 0:00:03", ""]


def test_a_notebook_shows_one_line_rewritten_in_place_without_codes_of_a_terminal(clock):
    """A cell's output is no terminal, and heeds carriage returns: of the class that ipykernel puts in its place."""
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    progress = Progress(total_epochs=1, steps_per_epoch=4, stream=stream, clock=clock)
    progress.update(epoch=1, step_in_epoch=1, metrics={"train/loss": 0.123456, "train/kl": 17.0}, images_per_second=1.0)
    progress.update(epoch=1, step_in_epoch=2, metrics={}, images_per_second=None)
    assert "\x1b" not in stream.getvalue()
    assert screen(stream.getvalue())[0].rstrip() == "epoch 1/1   50 %"
    progress.message("a word")
    progress.epoch_end(epoch=1, metrics={"val/loss": 1.0}, images_per_second=None, is_best=False)
    assert [line.rstrip() for line in screen(stream.getvalue())] == ["a word", "epoch 1/1  val loss 1.000", ""]


def test_counted_work_shows_the_number_and_the_time_left_and_of_a_second_nothing(clock):
    stream, log = Terminal(), io.StringIO()
    with counted("images read", stream=stream, clock=clock) as show, counted("images", stream=log, clock=clock) as tell:
        for done in range(1, 1001):
            clock.now += 1 / 8
            show(done, 1000)
            tell(done, 1000)
            if done == 247:
                assert screen(stream.getvalue())[0].rstrip() == "240 of 1,000 images read, ETA 0:01:35"
    assert screen(stream.getvalue())[0].rstrip() == "1,000 of 1,000 images read, 2 min"
    assert log.getvalue().splitlines() == [
        "480 of 1,000 images, ETA 0:01:05", "960 of 1,000 images, ETA 0:00:05", "1,000 of 1,000 images, 2 min"
    ]  # fmt: skip
    quick = Terminal()
    with counted("images read", stream=quick, clock=clock) as show:
        show(1000, 1000)
    assert quick.getvalue() == ""


def test_a_message_stands_above_the_live_line(clock):
    stream = Terminal()
    progress = Progress(total_epochs=2, steps_per_epoch=4, stream=stream, clock=clock)
    progress.message("compiling")
    progress.update(epoch=1, step_in_epoch=1, metrics={}, images_per_second=None)
    live = screen(stream.getvalue())[-1]
    progress.message("short")
    assert screen(stream.getvalue()) == ["compiling", "short", live]
    progress.close()
    progress.close()
    assert screen(stream.getvalue()) == ["compiling", "short", live, ""]


@given(width=st.integers(1, 220), is_best=st.booleans())
def test_no_line_wraps_whatever_the_width(width, is_best):
    stream, clock = Terminal(), Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((width, 24)))
        progress = Progress(total_epochs=100, steps_per_epoch=4, stream=stream, live=True, clock=clock)
        clock.now += 5
        progress.update(epoch=1, step_in_epoch=3, metrics=METRICS, images_per_second=12345.0)
        assert len(screen(stream.getvalue(), width)) == 1
        progress.epoch_end(epoch=1, metrics=METRICS, images_per_second=12345.0, is_best=is_best)
        assert len(screen(stream.getvalue(), width)) == 2
    assert all(len(line) < width for line in screen(stream.getvalue()))


def test_a_narrow_terminal_keeps_what_matters_most(clock, columns):
    columns(40)
    stream = Terminal()
    progress = Progress(total_epochs=100, steps_per_epoch=4, stream=stream, clock=clock)
    clock.now += 1
    progress.epoch_end(epoch=7, metrics=METRICS, images_per_second=1.0, is_best=True)
    assert screen(stream.getvalue())[0] == "epoch   7/100  ETA 0:01:33  * best"
    columns(60)
    progress.epoch_end(epoch=8, metrics=METRICS, images_per_second=1.0, is_best=True)
    assert "val loss 0.02230" in screen(stream.getvalue())[1]


def test_time_left_follows_recent_epochs_and_forgets_the_compiling_one(clock):
    stream = io.StringIO()
    progress = Progress(total_epochs=100, steps_per_epoch=10, stream=stream, clock=clock)
    run(progress, clock, [1], 90)
    assert eta(stream.getvalue()) == 99 * 90
    run(progress, clock, [2], 10)
    assert eta(stream.getvalue()) == 98 * 10
    run(progress, clock, range(3, 12), 10)
    assert eta(stream.getvalue()) == 89 * 10
    run(progress, clock, range(12, 17), 30)  # five slower ones, and only they count
    assert eta(stream.getvalue()) == 84 * 30
    run(progress, clock, range(17, 101), 30)
    assert "ETA" not in stream.getvalue().splitlines()[-1]


def test_time_left_includes_evaluation_of_the_epoch_under_way(clock):
    stream = Terminal()
    progress = Progress(total_epochs=10, steps_per_epoch=10, stream=stream, clock=clock)
    run(progress, clock, [1, 2], 100)
    clock.now += 60
    progress.update(epoch=3, step_in_epoch=10, metrics={}, images_per_second=1.0)  # 40 s of evaluation to come
    assert eta(stream.getvalue()) == 7 * 100 + 40
    clock.now += 60  # slower than ever: the present epoch has no time left, the others still do
    progress.update(epoch=3, step_in_epoch=10, metrics={}, images_per_second=1.0)
    assert eta(stream.getvalue()) == 7 * 100


def test_time_left_within_the_first_epoch_comes_from_its_steps(clock):
    stream = Terminal()
    progress = Progress(total_epochs=3, steps_per_epoch=10, stream=stream, clock=clock)
    progress.update(epoch=1, step_in_epoch=0, metrics={}, images_per_second=None)
    assert "ETA" not in stream.getvalue()
    clock.now += 20
    progress.update(epoch=1, step_in_epoch=4, metrics={}, images_per_second=None)
    assert eta(stream.getvalue()) == 3 * 50 - 20


def test_days(clock):
    stream = io.StringIO()
    progress = Progress(total_epochs=100, steps_per_epoch=10, stream=stream, clock=clock)
    run(progress, clock, [1], 1800)
    assert "ETA 2d 01:30:00" in stream.getvalue()


@pytest.mark.parametrize(("term", "stream", "live"), [("xterm", Terminal(), True), ("dumb", Terminal(), False),
                                                      ("xterm", io.StringIO(), False)])
def test_only_a_terminal_that_can_gets_a_live_line(clock, monkeypatch, term, stream, live):
    monkeypatch.setenv("TERM", term)
    progress = Progress(total_epochs=1, steps_per_epoch=2, stream=stream, clock=clock)
    progress.update(epoch=1, step_in_epoch=1, metrics={}, images_per_second=None)
    assert bool(stream.getvalue()) == live


def test_standard_output_is_the_default(clock, capsys):
    Progress(total_epochs=1, steps_per_epoch=2, clock=clock).message("hello")
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (59.4, "59 s"), (61, "1 min"), (3600, "1 h 00 min"), (11_100, "3 h 05 min")]
)
def test_durations_as_a_person_says_them(seconds, text):
    assert duration(seconds) == text
