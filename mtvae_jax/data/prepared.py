"""Datasets of tensorflow-datasets: downloaded and prepared by it, read once, then kept as arrays.

The arrays lie in a folder `mtvae_jax` next to the data that tensorflow-datasets prepared. Their order is its own, a
fixed shuffle of the files' order, the same everywhere.
"""

import contextlib
import io
import logging
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtvae_jax.data import array_cache
from mtvae_jax.data.decoding import FACE_SIDE, decode, decode_face
from mtvae_jax.data.reachable import why_unreachable
from mtvae_jax.data.source import Labelled, Source
from mtvae_jax.data.unavailable import DatasetUnavailable
from mtvae_jax.data.without_tensorflow import tensorflow_is_installed, without_tensorflow
from mtvae_jax.errors import UserError, first_line


class Recipe(NamedTuple):
    """How the examples of a dataset become arrays."""

    image_shape: tuple
    splits: tuple = ("train", "test")
    labelled: bool = True
    decode: object = decode  # bytes -> uint8 image_shape


RECIPES = {
    "mnist": Recipe((28, 28, 1)),
    "fashion_mnist": Recipe((28, 28, 1)),
    "cifar10": Recipe((32, 32, 3)),
    "celeb_a": Recipe((FACE_SIDE, FACE_SIDE, 3), ("train", "validation", "test"), labelled=False, decode=decode_face),
}
RECIPES_VERSION = 1  # to be raised when a recipe or `decoding` gives other pixels, so that older arrays are not found

FORMAT = "array_record"  # the one that is read without TensorFlow
EXAMPLES_AT_ONCE = 1000


def read(name, directory=None):
    """Reads a dataset, preparing and downloading it where that has not been done yet.

    Files that the user has downloaded are taken from `downloads/manual/NAME/` or `downloads/manual/` in the data
    folder, or from the data folder itself: the first of the three that holds any of them. Their checksums are verified.

    **Arguments:** `name`: a key of `RECIPES`; `directory`: the data folder, None for tensorflow-datasets' default.
    **Returns:** a `Source`, its arrays memory-mapped.
    **Raises:** `DatasetUnavailable` within seconds where there is no network; `UserError` for files or a folder that
    cannot be used.
    """
    try:
        import tensorflow_datasets as tfds

        with _quiet(tfds):
            version, arrays = _arrays(tfds, name, _data_folder(directory))
    except ImportError as error:
        raise DatasetUnavailable(
            f"data.name = {name}: tensorflow-datasets or what it needs is not installed ({first_line(error)}); "
            "pip install 'tensorflow-datasets>=4.9.10,<4.10' importlib-resources pillow"
        ) from error
    parts = {
        split: Labelled(arrays[f"{split}_images"], arrays.get(f"{split}_labels")) for split in RECIPES[name].splits
    }
    return Source(name=name, provenance=f"tensorflow-datasets {name} {version}", **parts)


def _arrays(tfds, name, data_folder):
    """The version of a dataset and its arrays, which are made where they are not there yet."""
    with _unusable_folder_named(data_folder, name):
        builder = _builder(tfds, name, data_folder)
        folder = Path(builder.data_dir) / "mtvae_jax"
        arrays = array_cache.load(folder, RECIPES_VERSION)
        if arrays is None:
            if not builder.is_prepared():
                _prepare(tfds, builder, data_folder)
            _write_arrays(tfds, builder, folder)
            arrays = array_cache.load(folder, RECIPES_VERSION)
    if arrays is None:
        raise UserError(f"data.dir: the arrays just written to {folder} do not read back; check that disk")
    return builder.version, arrays


def _data_folder(directory):
    if directory is None:
        from tensorflow_datasets.core.constants import DATA_DIR as directory
    local = isinstance(directory, (str, os.PathLike)) and os.fspath(directory) not in ("", b"")
    if not local or any(part in str(directory) for part in ("://", "\0")):
        raise UserError(f"data.dir = {directory!r}: must be a local folder")
    folder = Path(os.path.expanduser(directory)).absolute()
    if os.path.exists(folder) and not folder.is_dir():
        raise UserError(f"data.dir = {directory}: not a folder")
    return folder


def _builder(tfds, name, data_folder):
    """The builder of a dataset in a format that can be read, whether or not it is prepared yet."""
    builder_class = tfds.builder_cls(name)
    with _temporary_files_removed(), _damage_named(data_folder / name, name):
        builder = builder_class(data_dir=data_folder)
        if not builder.is_prepared():
            return builder_class(data_dir=data_folder, file_format=FORMAT)
        if any(file_format.value == FORMAT for file_format in builder.info.available_file_formats()):
            return builder
    # Prepared before, as the TFRecords that TensorFlow reads: left alone, a copy of our own goes beside it.
    own_folder = data_folder / FORMAT
    with _temporary_files_removed(), _damage_named(own_folder / name, name):
        return builder_class(data_dir=own_folder, file_format=FORMAT)


def _prepare(tfds, builder, data_folder):
    downloads = data_folder / "downloads"
    manual = _manual_folder(builder, data_folder)
    _verify_manual_files(builder, manual)
    missing = _not_yet_downloaded(builder, downloads, manual)
    if missing and (reason := why_unreachable(missing)):
        raise _unavailable(builder, missing, manual, reason)
    logging.getLogger(__name__).info("preparing %s in %s", builder.name, builder.data_dir)
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with (
            # Never the shared default: files extracted there are found again by their name alone, and those of MNIST
            # and of Fashion-MNIST have the same names.
            # After a failed download, its threads may still be writing there when the folder goes.
            tempfile.TemporaryDirectory(prefix="extracted-", dir=downloads, ignore_cleanup_errors=True) as extracted,
            contextlib.nullcontext() if tensorflow_is_installed() else without_tensorflow(builder),
        ):
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual, extract_dir=extracted, try_download_gcs=False
                ),
            )
    except UserError:
        raise
    except Exception as error:
        if builder.is_prepared():
            return  # by another process, at the same time
        if still_missing := _not_yet_downloaded(builder, downloads, manual):
            raise _unavailable(builder, still_missing, manual, first_line(error)) from error
        raise


def _manual_folder(builder, data_folder):
    """Where the user has put files, or should."""
    manual = data_folder / "downloads" / "manual"
    names = [info.filename for info in builder.url_infos.values()]
    for folder in (manual / builder.name, manual, data_folder):
        if any((folder / name).exists() for name in names):
            return folder
    return manual


def _not_yet_downloaded(builder, downloads, manual):
    """{address: file name} of what neither the user nor an earlier download has left here."""
    from tensorflow_datasets.core.download.resource import get_dl_fname

    return {
        url: info.filename
        for url, info in builder.url_infos.items()
        if not (manual / info.filename).exists()
        and not (downloads / builder.name / get_dl_fname(url, info.checksum)).exists()
        and not (downloads / get_dl_fname(url, info.checksum)).exists()
    }


def _unavailable(builder, missing, manual, reason):
    return DatasetUnavailable(
        f"data.name = {builder.name}: cannot be downloaded ({reason}); go online, or put "
        f"{', '.join(missing.values())} into {manual}"
    )


def _verify_manual_files(builder, manual):
    """Before anything else starts: tensorflow-datasets would find out too, but with other files half extracted."""
    from tensorflow_datasets.core.download.checksums import compute_url_info

    for url, expected in builder.url_infos.items():
        file = manual / expected.filename
        if file.exists() and (found := compute_url_info(file)) != expected:
            raise UserError(
                f"{file}: not the file that {builder.name} needs ({int(found.size)} bytes with a wrong checksum; "
                f"{int(expected.size)} bytes are expected); download it anew from {url}, or remove it"
            )


def _write_arrays(tfds, builder, folder):
    recipe = RECIPES[builder.name]
    decoders = {"image": tfds.decode.SkipDecoding()}  # `recipe.decode` does it
    with array_cache.writing(folder, RECIPES_VERSION) as create:
        for split in recipe.splits:
            with _damage_named(builder.data_dir, builder.name):
                source = builder.as_data_source(split, decoders=decoders, file_format=FORMAT)
                count = len(source)
            images = create(f"{split}_images", (count, *recipe.image_shape), np.uint8)
            labels = create(f"{split}_labels", (count,), np.int32) if recipe.labelled else None
            for start in range(0, count, EXAMPLES_AT_ONCE):
                stop = min(start + EXAMPLES_AT_ONCE, count)
                with _damage_named(builder.data_dir, builder.name):
                    examples = source.__getitems__(range(start, stop))
                for row, example in enumerate(examples, start):
                    images[row] = recipe.decode(example["image"])
                if labels is not None:
                    labels[start:stop] = [example["label"] for example in examples]


@contextlib.contextmanager
def _damage_named(folder, name):
    """Whatever tensorflow-datasets raises over damaged data becomes one line that names their folder."""
    try:
        yield
    except (ImportError, OSError):  # these have other causes, named elsewhere
        raise
    except Exception as error:
        raise UserError(f"{folder}: holds {name}, but damaged ({first_line(error)}); remove that folder") from error


@contextlib.contextmanager
def _quiet(tfds):
    """No progress bars, announcements or advice of tensorflow-datasets while it works."""
    tfds.disable_progress_bar()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _temporary_files_removed():
    """Every builder of tensorflow-datasets leaves an empty folder among the machine's temporary files."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        try:
            yield
        finally:
            tempfile.tempdir = usual


@contextlib.contextmanager
def _unusable_folder_named(folder, name):
    """A full disk or a folder that may not be written becomes one line that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"data.dir = {folder}: {name} cannot be prepared there ({first_line(error)}); "
            "free some space, or name another folder"
        ) from error
