"""Where the time of a run goes: a clock for training alone, one for compiling, one for everything."""

import contextlib
import time

_LEAST = 1e-9  # seconds; a coarse clock may not have moved, and speeds are divided by it


class Clock:
    """Counts over all the processes that a run takes; `record` and `resume` carry it through a checkpoint.

    Of runs that train side by side each counts its share of the time, so that their sum is what the machine has spent.

    **Arguments:** `side_by_side`: how many there are, this one included.
    """

    def __init__(self, side_by_side=1):
        self._runs = self._most_runs = side_by_side
        self._started = time.perf_counter()
        self._wall_before = 0.0
        self._train_seconds = 0.0
        self._train_images = 0
        self._compile_seconds = 0.0
        self._first_step_seconds = None
        self.call_seconds = 0.0

    @contextlib.contextmanager
    def training(self, images):
        """Counts the block as training on so many images; it must wait for the device. Sets `call_seconds`."""
        start = time.perf_counter()
        yield
        self.call_seconds = max(time.perf_counter() - start, _LEAST)
        self._train_seconds += self.call_seconds / self._runs
        self._train_images += images
        if self._first_step_seconds is None:
            self._first_step_seconds = time.perf_counter() - self._started

    @contextlib.contextmanager
    def compiling(self):
        """Counts the block as compiling."""
        start = time.perf_counter()
        yield
        self._compile_seconds += (time.perf_counter() - start) / self._runs

    @property
    def images_per_second(self):
        """Of all runs side by side, and of training alone: without compiling, evaluating, saving and drawing."""
        return self._train_images / self._train_seconds if self._train_seconds else 0.0

    def record(self):
        """Returns all that it has counted so far, in seconds and images; and of how many runs the run ever was one,
        which says whether it was the same to the bit as one trained alone.
        """
        return {
            "wall_seconds": self._wall_before + (time.perf_counter() - self._started) / self._runs,
            "train_seconds": self._train_seconds,
            "train_images": self._train_images,
            "compile_seconds": self._compile_seconds,
            "first_step_seconds": self._first_step_seconds,
            "side_by_side": self._most_runs,
        }

    def resume(self, record):
        """Goes on from the `record` of an earlier process."""
        self._wall_before = record["wall_seconds"]
        self._train_seconds = record["train_seconds"]
        self._train_images = record["train_images"]
        self._compile_seconds += record["compile_seconds"]
        self._first_step_seconds = record["first_step_seconds"]
        self._most_runs = max(self._most_runs, record.get("side_by_side", 1))
