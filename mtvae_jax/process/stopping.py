"""Signals that ask a process to stop: while training a request, which the run grants at the next good moment; at all
other times the end, in one line."""

import contextlib
import os
import signal
import threading

# Of the scheduler, of the keyboard, of a terminal that closes, and what a Slurm job may ask for before its time is up
# (--signal=USR1@60); Windows has the first two.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
STOPPED = "stopped; the same command goes on"


class Interrupted(BaseException):
    """The process was asked to end where it has nothing to save. No error, and so not to be caught as one."""


@contextlib.contextmanager
def interruptible():
    """While entered, the signals raise `Interrupted`, except within a `StopRequest`; whoever asks again while the
    process ends, ends it at once."""

    def interrupt(number, frame):
        end_at_once()
        raise Interrupted

    with _handled_by(interrupt):
        yield


class StopRequest:
    """While entered, the first signal is noted, and a second SIGINT raises `Interrupted` at once. In a thread that is
    not the main one no signal comes, and none is noted."""

    def __init__(self):
        self._requested, self._number = False, None
        self._handlers = _handled_by(self._handle)

    def __call__(self):
        """Whether a stop was asked for."""
        return self._requested

    def __enter__(self):
        self._handlers.__enter__()
        return self

    def __exit__(self, *error):
        self._handlers.__exit__(*error)

    def pass_on(self):
        """Sends the process the signal that was noted, for whoever heeded it before: Ctrl-C is a `KeyboardInterrupt`
        again."""
        if self._number is not None:
            signal.raise_signal(self._number)

    def _handle(self, number, frame):
        if self._requested and number == signal.SIGINT:
            raise Interrupted
        self._requested, self._number = True, number


def end_at_once():
    """From now on the signals end the process without a traceback: for its first moments and its last ones."""

    def end(number, frame):
        with contextlib.suppress(OSError):
            os.write(1, f"{STOPPED}\n".encode())
        os._exit(75)

    for number in _heeded():
        signal.signal(number, end)


def _heeded():
    """Those signals that are Python's to heed, but for what the process was started to ignore, as nohup makes it ignore
    SIGHUP. None in a thread: only the main one may."""
    if threading.current_thread() is not threading.main_thread():
        return []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    return [
        number
        for number, handler in handlers.items()
        if handler is not None and (handler != signal.SIG_IGN or number != _HANGUP)
    ]


_HANGUP = getattr(signal, "SIGHUP", None)


@contextlib.contextmanager
def _handled_by(handler):
    previous = {number: signal.signal(number, handler) for number in _heeded()}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
