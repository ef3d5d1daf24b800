"""SIGTERM and Ctrl-C: while training a request, which the run grants at the next good moment; at all other times the
end, in one line."""

import contextlib
import signal

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """The process was asked to end where it has nothing to save. No error, and so not to be caught as one."""


@contextlib.contextmanager
def interruptible():
    """While entered, SIGTERM and SIGINT raise `Interrupted`, except within a `StopRequest`."""

    def interrupt(number, frame):
        raise Interrupted

    with _handled_by(interrupt):
        yield


class StopRequest:
    """While entered, the first SIGTERM or SIGINT is noted, and a second SIGINT raises `Interrupted` at once."""

    def __init__(self):
        self._requested = False
        self._handlers = _handled_by(self._handle)

    def __call__(self):
        """Whether a stop was asked for."""
        return self._requested

    def __enter__(self):
        self._handlers.__enter__()
        return self

    def __exit__(self, *error):
        self._handlers.__exit__(*error)

    def _handle(self, number, frame):
        if self._requested and number == signal.SIGINT:
            raise Interrupted
        self._requested = True


@contextlib.contextmanager
def _handled_by(handler):
    previous = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
