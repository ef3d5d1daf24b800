"""The one way in to images: a name becomes a `Dataset`."""

import difflib
import numbers
import os
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

from mtvae_jax.data import prepared, splits
from mtvae_jax.data.dataset import Dataset, fingerprint
from mtvae_jax.data.folder import read_folder
from mtvae_jax.data.image_file import colour
from mtvae_jax.data.npz import read_npy, read_npz
from mtvae_jax.data.remarks import remarks
from mtvae_jax.errors import UserError

SAMPLE = "mnist_sample"


def _prepared(name):
    return lambda directory: prepared.read(name, directory)


def _sample(directory):
    with resources.as_file(resources.files("mtvae_jax.data") / "mnist_sample.npz") as path:
        return read_npz(path, name=SAMPLE, provenance="sample shipped with mtvae_jax")


# Name → function of the data folder, which may be None, that returns a `Source`.
READERS = {
    **{name: _prepared(name) for name in prepared.RECIPES},
    SAMPLE: _sample,
}
DATASETS = tuple(READERS)


class Own(NamedTuple):
    """How a user's own images are read. **read**: a function of the path, of the `settings` that it heeds, and, where
    it takes long, of `progress`."""

    read: Callable
    settings: tuple = ()
    takes_long: bool = False


# What stands before the path of a user's own images.
OWN = {
    "folder:": Own(read_folder, ("size", "crop", "background", "labels", "skip_broken"), takes_long=True),
    "npz:": Own(read_npz),
    "npy:": Own(read_npy),
}
NAMES = f"{', '.join(DATASETS)}, {', '.join(f'{prefix}PATH' for prefix in list(OWN)[:-1])} or {list(OWN)[-1]}PATH"

CROPS = ("center", "none")
# Settings of single kinds of a user's own images, at what has no effect.
UNUSED = {"size": None, "crop": "center", "background": "white", "labels": None, "skip_broken": False}


def load_dataset(
    name, *, directory=None, validation=0.1, fold=None, num_folds=None, max_train=None, progress=lambda done, of: None,
    **settings,
):
    """Loads a dataset and splits it.

    The splits are fixed: they come from `np.random.RandomState(0).permutation` (a stream that NumPy has frozen), never
    from the seed of a run, so that every run on the same data has the same training, validation and test images.

    - *test* is the dataset's own test split. Where an npz has no `test_images`, the first 10 % of its permuted images
      are held out before anything else.
    - *validation* is the first `validation · N` (rounded) of the permuted training images. With `validation=0` nothing
      is held out, and the test split serves as the validation split too, which `remarks` says. celeb_a keeps its
      official validation split, and an npz its `validation_images`, whatever `validation` says.
    - *train* is the rest, cut to its first `max_train` images.
    - With `num_folds=k, fold=i` the training images, and an official validation split with them, are pooled, permuted
      and cut into k folds of equal size (± 1): fold i validates, the others train, `validation` has no effect. The
      folds are disjoint and cover the pool; test stays as it is.

    **Arguments:** `name`: one of `DATASETS`; "folder:PATH" for image files, see `mtvae_jax.data.folder.read_folder`;
    "npz:PATH" or "npy:PATH" for a file as `mtvae_jax.data.npz` documents it; `directory`: the data folder of
    tensorflow-datasets, None for its own default (TFDS_DATA_DIR is respected), of no effect for a user's own images and
    for mnist_sample; `validation`: fraction in [0, 1); `fold`, `num_folds`: integers, or both None; `max_train`:
    integer or None; `progress`: called with the numbers of images that are read and of all, where that takes long;
    `settings`: of `UNUSED`, as `read_folder` documents them, but `size` may be a side of squares too.
    **Returns:** a `Dataset`. celeb_a is cropped to its central 178 × 178 pixels and resized to 64 × 64.
    **Raises:** `DatasetUnavailable` where tensorflow-datasets cannot have the dataset here; `UserError` for an unknown
    name, arguments out of range, a file that cannot be used, or a split that would be empty.
    """
    splits.check_arguments(validation, fold, num_folds, max_train)
    if not isinstance(name, str):
        raise UserError(f"data.name = {name!r}: must be one of {NAMES}")
    settings = UNUSED | settings
    check_settings(name, settings)
    source = _read(name, directory, settings, progress)
    train, held_out, test = splits.split(
        source, validation=validation, fold=fold, num_folds=num_folds, max_train=max_train
    )
    arrays = {
        "train": train.images,
        "validation": held_out.images,
        "test": test.images,
        "train_labels": train.labels,
        "validation_labels": held_out.labels,
        "test_labels": test.labels,
    }
    for array in arrays.values():
        if array is not None:
            array.setflags(write=False)
    return Dataset(
        name=source.name,
        provenance=source.provenance,
        fingerprint=fingerprint(arrays.values()),
        remarks=(*source.remarks, *remarks(train.images, held_out.images, test.images)),
        found=source.found,
        **arrays,
    )


def check_settings(name, settings):
    """Refuses settings that are wrong, or have no effect on these images.

    **Arguments:** `name`: of a dataset; `settings`: {name: value}, of `UNUSED`. **Raises:** `UserError`.
    """
    own = _own(name)
    for field, value in settings.items():
        if field not in UNUSED:
            raise TypeError(f"load_dataset has no argument {field}")
        if value != UNUSED[field] and (own is None or field not in own.settings):
            if own is None and name not in READERS:  # a forgotten `folder:` is not mended by dropping the setting
                raise _unknown(name)
            kinds = " and ".join(f"{prefix}PATH" for prefix, kind in OWN.items() if field in kind.settings)
            raise UserError(f"data.{field} = {value}: is for {kinds}, and these are {name}; must be {UNUSED[field]}")
    size, crop, background = (settings[field] for field in ("size", "crop", "background"))
    if crop not in CROPS:
        raise UserError(f"data.crop = {crop}: must be {' or '.join(CROPS)}")
    if settings["labels"] not in (None, "folders"):
        raise UserError(f"data.labels = {settings['labels']}: must be folders, or None")
    if size is not None and sides_of(size) is None:
        raise UserError(f"data.size = {size}: must be a side, or height and width, in pixels")
    if crop != UNUSED["crop"] and size is None:
        raise UserError(f"data.crop = {crop}: is how images become of data.size, which is None; must be center")
    try:
        if background != UNUSED["background"]:  # Pillow is not for everyone
            colour(background)
    except (ValueError, AttributeError) as error:
        raise UserError(f"data.background = {background}: must be a colour, like white or #808080") from error


def sides_of(size):
    """Returns (H, W) of a `data.size`: a side, or one or two of them in a tuple. None for anything else."""
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    whole = all(isinstance(side, numbers.Integral) and not isinstance(side, bool) and side >= 1 for side in sides)
    return tuple(map(int, sides * 2))[:2] if whole and len(sides) in (1, 2) else None


def _own(name):
    """The entry of `OWN` for a name; None for other datasets."""
    return next((own for prefix, own in OWN.items() if name.startswith(prefix)), None)


def _read(name, directory, settings, progress):
    if name in READERS:
        return READERS[name](directory)
    own = _own(name)
    if own is None:
        raise _unknown(name)
    heeded = {field: settings[field] for field in own.settings}
    if heeded.get("size") is not None:
        heeded["size"] = sides_of(heeded["size"])
    return own.read(name.partition(":")[2], **heeded, **({"progress": progress} if own.takes_long else {}))


def _unknown(name):
    return UserError(f"data.name = {name}: must be one of {NAMES}{_nearest(name)}")


def _nearest(name):
    suffix = name.rpartition(".")[2]
    if suffix in ("npz", "npy"):
        return f"; did you mean {suffix}:{name}?"
    if os.path.isdir(os.path.expanduser(name)):  # unlike Path.is_dir, never an error
        return f"; did you mean folder:{name}?"
    nearest = difflib.get_close_matches(name.lower(), DATASETS, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
