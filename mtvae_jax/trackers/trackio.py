"""Trackio: a local database that `trackio show` makes a page of."""

import contextlib
import io

from mtvae_jax.trackers.extras import package


class Trackio:
    """A run of the project "mtvae_jax" in Trackio's own folder (TRACKIO_DIR); a stage that goes on is the same run."""

    _last = None  # the one that Trackio itself would finish as the process ends

    @staticmethod
    def check():
        package("trackio")

    def __init__(self, run):
        trackio = package("trackio")
        self._image, self._finish = trackio.Image, trackio.finish
        with contextlib.redirect_stdout(io.StringIO()):  # a page of advice, among the lines of the run
            self._run = trackio.init(
                project="mtvae_jax", name=f"{run.name}-{run.identity}", config=run.config, resume="allow", embed=False,
                auto_log_cpu=False, auto_log_gpu=False,
            )  # fmt: skip
        Trackio._last = self

    def scalars(self, values, step):
        self._run.log(values, step=step)

    def image(self, name, pixels, step):
        self._run.log({name: self._image(pixels)}, step=step)

    def summary(self, values, step):
        self._run.log({name: value for name, value in values.items() if isinstance(value, (int, float))}, step=step)

    def close(self):
        with contextlib.redirect_stdout(io.StringIO()):
            (self._finish if Trackio._last is self else self._run.finish)()
