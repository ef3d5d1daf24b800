"""Images from a NumPy archive or a single array's file, checked before anything relies on them."""

import difflib
import os
import re
import zipfile
from pathlib import Path

import numpy as np

from mtvae_jax.data.source import Labelled, Source
from mtvae_jax.errors import UserError

KEYS = ("images", "labels", "validation_images", "validation_labels", "test_images", "test_labels")
_SPLITS = {"train": "", "training": "", "val": "validation_", "valid": "validation_", "validation": "validation_",
           "dev": "validation_", "test": "test_"}
_CONTENTS = {"x": "images", "data": "images", "image": "images", "images": "images", "img": "images", "imgs": "images",
             "y": "labels", "label": "labels", "labels": "labels", "target": "labels", "targets": "labels"}
MAX_CHANNELS = 4
_FIRST_LEVEL = 1.001 / 255  # as float16 rounds it, too
_FINER = 0.1  # levels; float16 is off by up to 0.063 where it means a level
ROWS_AT_ONCE = 1024  # converted together, so that float images are never held twice


def read_npz(path, *, name=None, provenance=None):
    """Reads a user's own images.

    - `images`, and optionally `validation_images` and `test_images` with the same image shape: [N, H, W, C] with
      1 … 4 channels, or [N, H, W] for one channel. Any height and width. uint8 is taken as it is; other integers must
      lie in 0 … 255; floats must lie in [0, 1] and are rounded to 256 levels, with a remark on what that loses where
      they are finer. Refused, because they read as black: integers of 0 and 1 alone (binary images are 0 and 255) and
      floats of at most 1/255 (which were divided by 255 twice).
    - `labels`, `validation_labels`, `test_labels`, optional: integers [N].

    Pickled objects are never loaded. Arrays of other names are not used, and a remark says so.

    **Arguments:** `path`: the file; `name`, `provenance`: as in `Dataset`, by default taken from the path.
    **Returns:** a `Source`.
    **Raises:** `UserError`, one line that names the file, where it cannot be used.
    """
    path = Path(os.path.expanduser(path))  # unlike Path.expanduser, never an error
    with _Archive(path) as arrays:
        train = _labelled(arrays, "images", "labels")
        validation, test = (_own_split(arrays, name, train) for name in ("validation", "test"))
        remarks = (*arrays.rounded, *arrays.unused())
    return Source(
        name=name or path.stem,
        provenance=provenance or f"npz:{path.resolve()}",
        train=train,
        validation=validation,
        test=test,
        remarks=remarks,
    )


def read_npy(path):
    """Reads a user's own images from a file of `np.save`: one array, as `read_npz` has `images`. It is not read whole
    where it is uint8 already.

    **Returns:** a `Source`. **Raises:** `UserError`, one line that names the file, where it cannot be used.
    """
    path = Path(os.path.expanduser(path))
    array = _Single(path)
    images = _images(array, "the images")
    return Source(
        name=path.stem,
        provenance=f"npy:{path.resolve()}",
        train=Labelled(images, None),
        remarks=tuple(array.rounded),
    )


def _own_split(arrays, name, train):
    """The validation or test images that the file brings along, None where it brings none."""
    images, labels = f"{name}_images", f"{name}_labels"
    if images not in arrays:
        if labels in arrays:
            raise arrays.error(f"has {labels} but no {images}; add them or remove the labels")
        return None
    split = _labelled(arrays, images, labels)
    if split.images.shape[1:] != train.images.shape[1:]:
        raise arrays.error(
            f"{images} are {_size(split.images)} but images are {_size(train.images)}; they must be alike"
        )
    return split


class _File:
    """A file of NumPy's whose every failure is one line that names it."""

    kind = writer = None

    def __init__(self, path):
        self.path = path
        self.rounded = []  # remarks on floats that are finer than 256 levels
        if not os.path.exists(path):  # unlike Path.exists, never an error
            raise self.error(f"no such file; data.name takes {self.kind}:PATH; of a run that has begun, the new PATH")
        if not os.path.isfile(path):
            raise self.error(f"not a file; data.name takes {self.kind}:PATH of a file written by {self.writer}")
        if not os.access(path, os.R_OK):
            raise self.error("may not be read; change its permissions")

    def _read(self, function, what=""):
        try:
            return function()
        except MemoryError as error:
            raise self.error(f"{what}does not fit into memory") from error
        except Exception as error:  # damaged bytes make zipfile and NumPy raise a dozen kinds
            if "allow_pickle" in str(error) or "Python objects" in str(error):
                raise self.error(f"{what}holds Python objects, not numbers; store one array of equal images") from error
            reason = str(error).strip().split("\n")[0]
            raise self.error(f"{what}cannot be read, the file is damaged ({reason}); write it anew") from error

    def error(self, message):
        return UserError(f"{self.kind}:{self.path}: {message}")


class _Single(_File):
    """The one array of a file of `np.save`."""

    kind, writer = "npy", "np.save"

    def __getitem__(self, _):
        with open(self.path, "rb") as file:
            if file.read(6) != b"\x93NUMPY":
                hint = "; it is an npz: name it npz:PATH" if zipfile.is_zipfile(self.path) else ""
                raise self.error(f"not an npy file, or cut short; write it anew with np.save{hint}")
        array = self._read(lambda: np.load(self.path, mmap_mode="r", allow_pickle=False))
        return array.view(np.ndarray)


class _Archive(_File):
    """The arrays of a file of `np.savez`."""

    kind, writer = "npz", "np.savez"

    def __init__(self, path):
        super().__init__(path)
        if not zipfile.is_zipfile(path):
            raise self.error("not an npz file, or cut short; write it anew with np.savez")
        self._archive = self._read(lambda: np.load(path, allow_pickle=False))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._archive.close()

    def __contains__(self, key):
        return key in self._archive.files

    def __getitem__(self, key):
        if key not in self:
            found = self._archive.files
            meant = [name for name in found if _meant(name) == key]
            hint = f"; rename {meant[0]} to {key}" if meant else ""
            raise self.error(f"has no array named {key}, only: {', '.join(found) or 'nothing'}{hint}")
        array = self._read(lambda: self._archive[key], f"{key} ")
        if not isinstance(array, np.ndarray):
            raise self.error(f"{key} is not a NumPy array; write the file with np.savez")
        return array

    def unused(self):
        """Remarks on the arrays that have another name than those that are read."""
        for name in self._archive.files:
            if name not in KEYS:
                meant = _meant(name)
                hint = f"; if these are the {meant}, rename {name} to {meant}" if meant and meant not in self else ""
                yield f"the array {name} of {self.path.name} is not used{hint}"


def _meant(name):
    """The key of `KEYS` that an array of another name seems to be, such as x_train; None where none is near."""
    words = [word for word in re.split("[^a-z]+", name.lower()) if word]
    split = next((_SPLITS[word] for word in words if word in _SPLITS), None)
    content = next((_CONTENTS[word] for word in words if word in _CONTENTS), None)
    if content is not None or split is not None:
        return f"{split or ''}{content or 'images'}"
    return next(iter(difflib.get_close_matches(name.lower(), KEYS, n=1)), None)


def _labelled(archive, images_key, labels_key):
    images = _images(archive, images_key)
    if labels_key not in archive:
        return Labelled(images, None)
    labels = archive[labels_key]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise archive.error(
            f"{labels_key} are {labels.dtype} {_shape(labels)}; must be integers [{len(images)}], "
            f"one for each of {images_key}"
        )
    if labels.max() > np.iinfo(np.int32).max or labels.min() < np.iinfo(np.int32).min:
        raise archive.error(f"{labels_key} do not fit into 32 bits")
    return Labelled(images, labels.astype(np.int32))


def _images(archive, key):
    images = archive[key]
    if images.ndim not in (3, 4):
        raise archive.error(f"{key} have shape {_shape(images)}; must be [N, H, W, C] or [N, H, W]")
    if images.size == 0:
        raise archive.error(f"{key} have shape {_shape(images)}: no images, or images without pixels")
    if images.ndim == 3:
        images = images[..., None]  # [N, H, W, 1]
    if images.shape[3] > MAX_CHANNELS:
        hint = "; channels come last: images.transpose(0, 2, 3, 1)" if images.shape[1] <= MAX_CHANNELS else ""
        raise archive.error(f"{key} have shape {_shape(images)}: 1 … {MAX_CHANNELS} channels can be used{hint}")
    return _as_uint8(archive, key, images)


def _as_uint8(archive, key, images):
    if images.dtype.kind not in "iuf":
        raise archive.error(f"{key} are {images.dtype}; must be uint8, or floats in [0, 1]")
    low, high = images.min(), images.max()
    if np.isnan(low) or np.isnan(high):
        raise archive.error(f"{key} hold NaN; must be uint8, or floats in [0, 1]")
    floats = images.dtype.kind == "f"
    if floats and low >= 0 and 1 < high <= 255:
        raise archive.error(f"{key} lie in {low:g} … {high:g}, it seems of 0 … 255; store uint8, or divide by 255")
    if low < 0 or high > (1 if floats else 255):
        allowed = "floats must lie in [0, 1]" if floats else "integers must lie in 0 … 255"
        raise archive.error(f"{key} lie in {low:g} … {high:g}; {allowed}")
    if floats and 0 < high <= _FIRST_LEVEL:
        raise archive.error(
            f"{key} are floats in {low:g} … {high:g}, which read as black, as if they had been divided by 255 twice; "
            "scale them to 0 … 1"
        )
    if not floats and high == 1:  # binary images, which read as 0 … 255 would all be black
        raise archive.error(f"{key} are integers in 0 … 1, but integers are read as 0 … 255; multiply them by 255")
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if not floats:
        return images.astype(np.uint8)
    pixels, worst = np.empty(images.shape, np.uint8), 0.0
    moments = np.zeros(3)  # sums of level, level², error²
    for start in range(0, len(images), ROWS_AT_ONCE):
        levels = images[start : start + ROWS_AT_ONCE].astype(np.float64) * 255
        rounded = np.rint(levels)
        pixels[start : start + ROWS_AT_ONCE] = rounded
        errors = levels - rounded
        worst = max(worst, np.abs(errors).max())
        moments += rounded.sum(), np.sum(rounded**2), np.sum(errors**2)
    if worst > _FINER:
        mean, square, error = moments / images.size / (255, 255**2, 255**2)
        variance = square - mean**2
        of_spread = f", {100 * np.sqrt(error / variance):.2g} % of their standard deviation" if variance > 0 else ""
        archive.rounded.append(
            f"{key} are floats finer than 256 levels and are rounded to them: an error of {np.sqrt(error):.2g}"
            f"{of_spread}"
        )
    return pixels


def _shape(array):
    return "[" + ", ".join(map(str, array.shape)) + "]"


def _size(images):
    return " × ".join(map(str, images.shape[1:]))
