"""What a kind of device is quick at, and so by which way a program that is traced for it computes the same.

On a processor it is the arithmetic of a step that takes time, on a GPU the number of kernels that are started for it,
one after another.
"""

import contextlib
import contextvars
from typing import NamedTuple

import jax


class Backend(NamedTuple):
    """The ways of a kind of device.

    **library_convolutions**: a convolution is a call of the device's library, such as cuDNN; else it is products of
    patches; **patch_bytes**: of those at most so many are in memory at a time, None for all of a batch;
    **eigen**: products of matrices are Eigen's; **sums_together**: two sums over one array are one reduction;
    **vectors_together**: the vectors of a model, a few numbers each, are one array in training;
    **adds_in_order**: what is added to one place of an array from many, is added in one order every time;
    **sorts**: the smallest of many numbers are found by sorting them, else by bisection; **draws_at_once**: random
    pixels are drawn all at once, else in a loop of as many turns as they need; **steps_at_once**: how many steps of
    training a program has at most, a constant of it, so that nobody asks after each whether there is another; None for
    a program of any number; **images_at_once**: of an evaluation; **matrices_together**: the matrices of a batch are
    factorised in one call of the library, else one after another; **options**: of XLA, for programs that train.
    """

    library_convolutions: bool
    patch_bytes: int | None
    eigen: bool
    sums_together: bool
    vectors_together: bool
    adds_in_order: bool
    sorts: bool
    draws_at_once: bool
    steps_at_once: int | None
    images_at_once: int
    matrices_together: bool
    options: dict = {}  # noqa: RUF012


# Patches that fit the cache are two to three times as fast, and the memory for all of them (nine times the images',
# for a 3×3 kernel) is never taken; so evaluation of 250 images takes 1.4 times as long an image as of 128. Sorting is
# the slowest part of a mask. A call of LAPACK for many matrices waits for threads that other devices of the process run
# on: two devices on two cores wait for each other for ever (jaxlib 0.10.2).
PROCESSOR = Backend(
    library_convolutions=False, patch_bytes=8 * 2**20, eigen=True, sums_together=False, vectors_together=False,
    adds_in_order=True, sorts=False, draws_at_once=False, steps_at_once=None, images_at_once=128,
    matrices_together=False,
)  # fmt: skip
# A hundred steps are a tenth of a second: often enough to be asked to stop, and nothing to what starts a program. The
# option leaves out what adds up in another order every time, plans of cuDNN among it.
GPU = Backend(
    library_convolutions=True, patch_bytes=None, eigen=False, sums_together=True, vectors_together=True,
    adds_in_order=False, sorts=True, draws_at_once=True, steps_at_once=128, images_at_once=500,
    matrices_together=True, options={"xla_gpu_exclude_nondeterministic_ops": True},
)  # fmt: skip
_BACKENDS = {"cpu": PROCESSOR, "gpu": GPU}


_any_number = contextvars.ContextVar("any_number", default=False)


@contextlib.contextmanager
def for_any_number():
    """Lets programs be traced, meanwhile, for a number of images that is a symbol, which nothing can be cut by."""
    token = _any_number.set(True)
    try:
        yield
    finally:
        _any_number.reset(token)


def backend():
    """Returns the `Backend` of the devices that programs are traced for."""
    ways = _BACKENDS.get(jax.default_backend(), GPU._replace(options={}))
    return ways._replace(patch_bytes=None, matrices_together=True) if _any_number.get() else ways
