"""The machine a run is on: versions, device, and XLA's cache of compiled programs."""

import contextlib
import datetime
import functools
import os
import platform
import re
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
from absl import logging

import mtvae_jax
from mtvae_jax.data.cache_folder import cache_directory
from mtvae_jax.errors import UserError
from mtvae_jax.process.quiet import quiet

_MOST_CACHED = 2 * 2**30  # bytes
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

# What numbers depend on, as this project has it, whatever the process or its environment (JAX_ENABLE_X64, …) says.
_NUMBERS = {
    "enable_x64": False,
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "transfer_guard": "allow",
}


def own_numbers(function):
    """Returns the function, called with JAX's settings for numbers as runs have them: float32 where nothing else is
    said.

    For what a user may call in a process of another mind. The settings are those of the thread, meanwhile.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with contextlib.ExitStack() as settings:
            for name, value in _NUMBERS.items():
                settings.enter_context(getattr(jax, name)(value))
            return function(*args, **kwargs)

    return wrapper


def configure():
    """Settings of the process: those of `own_numbers` for good; XLA's persistent cache on, so that a program is
    compiled once a machine and not once a process; the chatter of libraries off.

    The cache lies in the user's cache folder; JAX_COMPILATION_CACHE_DIR moves it, and an empty value turns it off. Of
    that folder, features of images included, what was not used for longest is deleted beyond 2 GiB.
    """
    os.environ["MPLBACKEND"] = "agg"  # a notebook leaves its own to the processes it starts, where it may not exist
    for name, value in _NUMBERS.items():
        jax.config.update(f"jax_{name}", value)
    logging.set_verbosity(logging.FATAL)  # orbax also logs, with a traceback, the errors that it raises
    # As either of which Python reports them, by its version
    sys.excepthook = _without_echoes(sys.excepthook, lambda kind, error, trace: error)
    sys.unraisablehook = _without_echoes(sys.unraisablehook, lambda unraisable: unraisable.exc_value)
    _cache_programs()


@contextlib.contextmanager
def polite():
    """Does what can be done of `configure` in a process that is not this project's, meanwhile: the chatter of libraries
    is off, and XLA's cache on where nothing has been said of one; that stays, for JAX asks once a process.

    What the process has settled is left: devices and their memory, XLA's flags, a cache that JAX has done without so
    far. Numbers are as `own_numbers` has them.
    """
    if jax.config.jax_compilation_cache_dir is None:
        _cache_programs()
    with quiet():
        yield


def _cache_programs():
    bound(cache_directory(), _MOST_CACHED, but=("images",))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def bound(folder, most, but=()):
    """Deletes the files of a folder, at any depth, that were neither read nor written for longest, until all others
    together have at most `most` bytes. Folders of the names `but` are left alone.

    Another process may do the same at the same time. What cannot be deleted stays.
    """
    files = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in but]
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                about = os.lstat(os.path.join(top, name))
                files.append((max(about.st_atime, about.st_mtime), about.st_size, os.path.join(top, name)))
    kept = 0
    for _, size, path in sorted(files, reverse=True):
        kept += size
        if kept > most:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _without_echoes(hook, error_of):
    """After orbax has failed, tensorstore's threads still report to it, each with a traceback."""

    def filtered(*report):
        error = error_of(*report)
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            hook(*report)

    return filtered


def versions():
    """Returns package → version, of Python and all that numbers depend on."""
    return {
        "mtvae-jax": _project_version(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def compiler_options(options):
    """Those of XLA's options, {name: value}, that the user has not set otherwise in XLA_FLAGS."""
    named = set(re.findall(r"--(\w+)", os.environ.get("XLA_FLAGS", "")))
    return {name: value for name, value in options.items() if name not in named}


def require_device():
    """Starts the devices that JAX_PLATFORMS asks for, or the best there are; to be called after `distributed.start`.

    **Raises:** `UserError` where there are none.
    """
    try:
        jax.devices()
    except Exception as error:  # an AssertionError without a word for cuda, a RuntimeError for others
        asked = jax.config.jax_platforms
        reason = (str(error).strip() or "no such device").split("\n")[0].split(" (set JAX_PLATFORMS")[0]
        if not asked:
            raise UserError(f"JAX finds no device ({reason}); JAX_PLATFORMS=cpu computes on the processor") from error
        raise UserError(
            f"JAX_PLATFORMS = {asked}: cannot be used here ({reason}); unset it to take what there is"
        ) from error


@functools.cache
def _project_version():
    """As "0.1.0", or in a clone with its commit, "0.1.0+g742639c0f1d2", ending in "-dirty" where files were changed."""
    version, root = mtvae_jax.__version__, Path(mtvae_jax.__file__).parent.parent
    if not (root / ".git").exists():
        return version
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or not for this user
        return version
    return f"{version}+g{found.stdout.strip()}"


def origin():
    """Returns what a run was trained with, when and where: {"date": …, "host": …, "device": …, "versions": {…}}."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"date": now, "host": socket.gethostname(), "device": device(), "versions": versions()}


def device():
    """Returns what the run computes on: "2 × cpu (x86_64)", "1 × NVIDIA H100 80GB HBM3"."""
    kind = jax.devices()[0].device_kind
    return f"{jax.device_count()} × {kind}" + (f" ({platform.machine()})" if kind == "cpu" else "")
