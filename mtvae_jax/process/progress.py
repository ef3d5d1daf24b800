"""What a run says while it trains: a line that is rewritten in a terminal, a line an epoch in a log file."""

import contextlib
import math
import os
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass

HEARTBEAT = 60  # seconds of silence after which a log file gets a sign of life
RECENT = 5  # epochs whose mean duration the estimate rests on

# Metrics in the order of the line, under short names, with their rank: a narrow terminal leaves out the highest first.
_METRICS = {
    "loss": ("loss", 3),
    "reconstruction": ("rec", 5),
    "reconstruction_conditioned": ("rec|m", 6),
    "kl": ("KL", 7),
    "vq": ("VQ", 7),
    "perplexity": ("perplexity", 8),
    "nats_per_code": ("nats/code", 5),
    "nats_per_code_conditioned": ("nats/code|m", 6),
    "bits_per_dim": ("bits/dim", 9),
    "psnr": ("PSNR", 10),
    "ssim": ("SSIM", 11),
}


@dataclass(frozen=True)
class _Part:
    """A piece of the line; the `split` it belongs to is named once, before the first piece of that split."""

    text: str
    rank: int
    split: str = ""


@contextlib.contextmanager
def unfailing_output():
    """Meanwhile nothing that is said ends a run: what an encoding lacks is escaped; what a full disk, a terminal that
    has gone, or a stream that was closed from the start cannot take is dropped. A pipe that nobody reads from is still
    an error."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_unfailing, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _unfailing(stream):
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return _Unfailing(stream)


class _Unfailing:
    """A stream of text whose file becomes the null device as soon as it cannot be written."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self):
        self._attempt(self._stream.flush)

    def _attempt(self, function, *arguments):
        try:
            function(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            print(f"{self._stream.name} cannot be written ({error.strerror}); the run goes on", file=sys.stderr)


class Progress:
    """Shows how far training is. Epochs are counted from 1, as the line shows them; steps are those of one epoch.

    In a terminal or a notebook one line is rewritten in place at each `update` and left standing at the end of an
    epoch. Elsewhere there is one plain line an epoch, and one a minute while an epoch lasts longer than that.

    The time left is estimated from the duration of recent epochs, everything between them included: evaluation,
    checkpoints, figures. The first epoch, which compiles, counts only until there is another.

    **Arguments:** `total_epochs`, `steps_per_epoch`: of the whole run, resumed or not; `stream`: of text, None for
    standard output; `live`: whether to rewrite one line, None: where the stream is of a terminal that can, or of a
    notebook; `clock`: a function that gives seconds.
    """

    def __init__(self, *, total_epochs, steps_per_epoch, stream=None, live=None, clock=time.monotonic):
        self._total_epochs = total_epochs
        self._steps_per_epoch = steps_per_epoch
        self._stream = sys.stdout if stream is None else stream
        self._terminal = self._stream.isatty()
        self._live = _rewrites_lines(self._stream) if live is None else live
        self._clock = clock
        self._epoch_start = self._last_output = clock()
        self._first_duration = None
        self._durations = deque(maxlen=RECENT)  # without the first
        self._live_line = ""

    def update(self, *, epoch, step_in_epoch, metrics, images_per_second):
        """Shows the state within an epoch.

        **Arguments:** `epoch`: the one under way; `step_in_epoch`: steps of it that are done; `metrics`: such as
        `train/loss`; `images_per_second`: or None where not yet known.
        """
        if not self._live and self._clock() - self._last_output < HEARTBEAT:
            return
        done = min(step_in_epoch / self._steps_per_epoch, 1)
        parts = [
            _Part(self._epoch(epoch), 0),
            _Part(f"{math.floor(100 * done):3d} %", 1),
            *_metric_parts(metrics, ("train", "val")),
            *_speed(images_per_second),
            *_eta(self._remaining(epoch, done)),
        ]
        if self._live:
            self._write_over(_fit(parts, self._width()))
        else:
            self._write(_fit(parts, self._width()) + "\n")

    def epoch_end(self, *, epoch, metrics, images_per_second, is_best, warnings=()):
        """Shows the result of an epoch, on a line that stays.

        **Arguments:** `epoch`: the one that is done; `metrics`: of training and validation; `images_per_second`: of
        training, or None; `is_best`: whether its validation loss is the lowest so far; `warnings`: a few words each,
        which no terminal is too narrow for.
        """
        self._note_duration()
        training_loss = {"train/loss": metrics["train/loss"]} if "train/loss" in metrics else {}
        parts = [
            _Part(self._epoch(epoch), 0),
            *_metric_parts(training_loss, ("train",)),
            *_metric_parts(metrics, ("val",)),
            *_speed(images_per_second),
            *_eta(self._remaining(epoch + 1, 0)),
            *([_Part("* best", 0)] if is_best else []),
            *(_Part(f"! {warning}", 0) for warning in warnings),
        ]
        if self._live:
            self._write_over(_fit(parts, self._width()))
        self._write("\n" if self._live else _fit(parts, self._width()) + "\n")
        self._live_line = ""

    def message(self, text):
        """Says something on a line of its own, above the live line if there is one."""
        if self._live:
            line = self._live_line
            self._write_over(text)
            self._live_line = line
            self._write(f"\n{line}")
        else:
            self._write(f"{text}\n")

    def close(self):
        """Leaves the cursor on a fresh line; closing again does nothing."""
        if self._live_line:
            self._live_line = ""
            self._write("\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _note_duration(self):
        now = self._clock()
        if self._first_duration is None:
            self._first_duration = now - self._epoch_start
        else:
            self._durations.append(now - self._epoch_start)
        self._epoch_start = now

    def _remaining(self, epoch, done):
        """Seconds until the last epoch ends, of which the fraction `done` of `epoch` is behind; None if unknown."""
        epochs_after = self._total_epochs - epoch
        if epochs_after < 0:
            return 0.0
        elapsed = self._clock() - self._epoch_start
        if self._durations:
            duration = sum(self._durations) / len(self._durations)
        elif self._first_duration is not None:
            duration = self._first_duration
        elif done > 0:
            duration = elapsed / done
        else:
            return None
        return epochs_after * duration + max(duration - elapsed, 0)

    def _epoch(self, epoch):
        return f"epoch {epoch:{len(str(self._total_epochs))}d}/{self._total_epochs}"

    def _width(self):
        """Columns that a line may take; the last one stays free, since some terminals wrap once it is filled."""
        return shutil.get_terminal_size().columns - 1 if self._terminal or self._live else math.inf

    def _write_over(self, line):
        """Rewrites the live line. What is left of a longer one goes: a terminal is told so, a notebook gets spaces."""
        rest = "\x1b[K" if self._terminal else " " * (len(self._live_line) - len(line))
        self._write(f"\r{line}{rest}")
        self._live_line = line

    def _write(self, text):
        self._stream.write(text)
        self._stream.flush()
        self._last_output = self._clock()


@contextlib.contextmanager
def counted(what, *, stream=None, clock=time.monotonic):
    """Shows how much of a piece of work is done, where and as often as `Progress` does; nothing of what takes a second.

    **Arguments:** `what`: is counted, such as "images read"; `stream`, `clock`: as of `Progress`.
    **Yields:** a function of the numbers that are done, and of all.
    """
    stream = sys.stdout if stream is None else stream
    live, start, shown = _rewrites_lines(stream), clock(), []

    def show(done, total):
        since = clock() - (shown[-1] if shown else start)
        if since < (1 if live else HEARTBEAT) and not (shown and done == total):
            return
        shown.append(clock())
        left = (shown[-1] - start) * (total / done - 1)
        text = f"{done:,} of {total:,} {what}, " + (f"ETA {_duration(left)}" if left else duration(shown[-1] - start))
        stream.write(f"\r{text:<60}" if live else f"{text}\n")
        stream.flush()

    try:
        yield show
    finally:
        if live and shown:
            stream.write("\n")


def _rewrites_lines(stream):
    """Whether a carriage return on it begins the line anew: of a terminal, but a dumb one, and of a notebook's cell."""
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _metric_parts(metrics, splits):
    parts = []
    for split in splits:
        for key, (name, rank) in _METRICS.items():
            if (value := metrics.get(f"{split}/{key}")) is not None:
                # Of two losses the validation loss is the one to keep.
                parts.append(_Part(f"{name} {_number(value)}", rank - (key == "loss" and split == "val"), split))
    return parts


def _speed(images_per_second):
    if images_per_second is None or not math.isfinite(images_per_second):
        return []
    return [_Part(f"{images_per_second:,.0f} images/s", 4)]


def _eta(seconds):
    return [_Part(f"ETA {_duration(seconds)}", 1)] if seconds else []


def _number(value):
    """Four significant digits."""
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:#.4g}".rstrip(".")


def _duration(seconds):
    """As 0:12:31, or 2d 03:15:00 from a day on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}:{minutes:02d}:{seconds:02d}" if days else f"{hours}:{minutes:02d}:{seconds:02d}"


def duration(seconds):
    """As a person would say it: "3 h 05 min", "12 min", "40 s"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _fit(parts, width):
    """The line of all parts that `width` columns hold, the least important left out, cut as a last resort."""
    parts = list(parts)
    while len(line := _join(parts)) > width and max(part.rank for part in parts) > 0:
        parts.remove(max(reversed(parts), key=lambda part: part.rank))
    return line if len(line) <= width else line[: max(width, 0)]


def _join(parts):
    line, split = [], ""
    for part in parts:
        line.append(f"{part.split} {part.text}" if part.split not in ("", split) else part.text)
        split = part.split
    return "  ".join(line)
