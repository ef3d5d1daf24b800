"""SIGTERM and Ctrl-C as a request: the run saves at the next good moment instead of dying at once."""

import signal


class StopRequest:
    """While entered, the first SIGTERM or SIGINT sets `requested`; a second SIGINT interrupts at once."""

    def __init__(self):
        self._requested = False
        self._previous = {}

    def __call__(self):
        """Whether a stop was asked for."""
        return self._requested

    def __enter__(self):
        self._previous = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        if self._requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._requested = True
