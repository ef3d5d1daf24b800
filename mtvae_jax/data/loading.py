"""The one way in to images: a name becomes a `Dataset`."""

import difflib
from importlib import resources

from mtvae_jax.data import prepared, splits
from mtvae_jax.data.dataset import Dataset, fingerprint
from mtvae_jax.data.npz import read_npz
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

# What stands before the path of a user's own images → function of the path.
OWN = {"npz:": read_npz}


def load_dataset(name, *, directory=None, validation=0.1, fold=None, num_folds=None, max_train=None):
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

    **Arguments:** `name`: one of `DATASETS`, or "npz:PATH" for a file as `mtvae_jax.data.npz.read_npz` documents it;
    `directory`: the data folder of tensorflow-datasets, None for its own default (TFDS_DATA_DIR is respected), of no
    effect for an npz and for mnist_sample; `validation`: fraction in [0, 1); `fold`, `num_folds`: integers, or both
    None; `max_train`: integer or None.
    **Returns:** a `Dataset`. celeb_a is cropped to its central 178 × 178 pixels and resized to 64 × 64.
    **Raises:** `DatasetUnavailable` where tensorflow-datasets cannot have the dataset here; `UserError` for an unknown
    name, arguments out of range, a file that cannot be used, or a split that would be empty.
    """
    splits.check_arguments(validation, fold, num_folds, max_train)
    if not isinstance(name, str):
        raise UserError(f"data.name = {name!r}: must be one of {', '.join(DATASETS)} or npz:PATH")
    source = _read(name, directory)
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
        **arrays,
    )


def _read(name, directory):
    if name in READERS:
        return READERS[name](directory)
    for prefix, read in OWN.items():
        if name.startswith(prefix):
            return read(name.removeprefix(prefix))
    raise UserError(f"data.name = {name}: must be one of {', '.join(DATASETS)} or npz:PATH{_nearest(name)}")


def _nearest(name):
    if name.endswith(".npz"):
        return f"; did you mean npz:{name}?"
    nearest = difflib.get_close_matches(name.lower(), DATASETS, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
