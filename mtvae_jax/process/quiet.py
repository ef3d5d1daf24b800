"""The chatter of libraries, off for a while."""

import contextlib

from absl import logging


@contextlib.contextmanager
def quiet():
    """Silences absl's logging meanwhile: orbax tells through it of every option it was given."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
