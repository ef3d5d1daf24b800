"""Which image trains, which validates, which tests: fixed once, the same for every run.

All permutations are `np.random.RandomState(0).permutation(n)`. NumPy has frozen the stream of RandomState (unlike
that of default_rng), so the splits outlive NumPy releases; they do not depend on the seed of a run.
"""

import numbers

import numpy as np

from mtvae_jax.data.source import Labelled
from mtvae_jax.errors import UserError, number_of

TEST_FRACTION = 0.1  # of data that come without a test split
ROWS_AT_ONCE = 4096  # copied together, so that no second copy of a large split ever exists


def check_arguments(validation, fold, num_folds, max_train):
    """Raises `UserError` for split arguments that no data could satisfy."""
    if not _is(numbers.Real, validation) or not 0 <= validation < 1:
        raise UserError(f"data.validation = {validation}: must be a fraction of at least 0 and below 1")
    if (fold is None) != (num_folds is None):
        missing = "num_folds" if num_folds is None else "fold"
        raise UserError(f"data.{missing}: cross-validation needs both data.fold and data.num_folds")
    if num_folds is not None:
        if not _is(numbers.Integral, num_folds) or num_folds < 2:
            raise UserError(f"data.num_folds = {num_folds}: must be an integer of at least 2")
        if not _is(numbers.Integral, fold) or not 0 <= fold < num_folds:
            raise UserError(f"data.fold = {fold}: must be an integer in 0 … {num_folds - 1}")
    if max_train is not None and (not _is(numbers.Integral, max_train) or max_train < 1):
        raise UserError(f"data.max_train = {max_train}: must be an integer of at least 1")


def _is(kind, value):
    return isinstance(value, kind) and not isinstance(value, bool)


def split(source, *, validation, fold, num_folds, max_train):
    """Splits `source` as `load_dataset` documents.

    **Arguments:** `source`: a `Source`; the rest as in `load_dataset`, already checked.
    **Returns:** train, validation, test, each `Labelled` and not empty.
    **Raises:** `UserError` where there are too few images.
    """
    training, test = np.arange(len(source.train.images)), source.test  # training: indices into source.train
    if test is None:
        held_out, training = _divide(training, round(TEST_FRACTION * len(training)))
        test = take([source.train], held_out)

    if num_folds is not None:
        parts = [source.train] if source.validation is None else [source.train, source.validation]
        official = len(source.train.images) + np.arange(sum(len(part.images) for part in parts[1:]))
        pool = np.concatenate([training, official])
        if num_folds > len(pool):
            raise _too_few(source, "validation")
        chosen, others = _fold(pool, fold, num_folds)
        train, validation_split = take(parts, others[:max_train]), take(parts, chosen)
    elif source.validation is not None:
        # Without a copy where nothing is held out: the images may be memory-mapped
        whole = source.test is not None
        train = _first(source.train, max_train) if whole else take([source.train], training[:max_train])
        validation_split = source.validation
    else:
        chosen, others = _divide(training, round(validation * len(training)))
        train = take([source.train], others[:max_train])
        validation_split = take([source.train], chosen) if validation else test

    _require_images(source, train=train, validation=validation_split, test=test)
    return train, validation_split, test


def _divide(indices, count):
    """`count` of the indices, by the fixed permutation, and all others."""
    permuted = indices[_permutation(len(indices))]
    return permuted[:count], permuted[count:]


def _fold(indices, fold, num_folds):
    """Fold number `fold` of the permuted indices, and all others, beginning with the fold after it.

    So a cut to the first few leaves each fold its own training images; in ascending order all folds but the first
    would be left the same ones.
    """
    folds = np.array_split(indices[_permutation(len(indices))], num_folds)
    return folds[fold], np.concatenate(folds[fold + 1 :] + folds[:fold])


def _permutation(n):
    return np.random.RandomState(0).permutation(n)


def _first(part, count):
    return Labelled(part.images[:count], None if part.labels is None else part.labels[:count])


def take(parts, indices):
    """Returns the images at `indices` of the concatenation of `parts`, which is never made.

    **Arguments:** `parts`: list of `Labelled` with the same image shape; `indices`: int [N].
    **Returns:** `Labelled`, newly allocated, in the order of `indices`; labels only where every part has them.
    """
    labelled = all(part.labels is not None for part in parts)
    images = np.empty((len(indices), *parts[0].images.shape[1:]), np.uint8)
    labels = np.empty(len(indices), np.int32) if labelled else None
    start = 0
    for part in parts:
        stop = start + len(part.images)
        rows = np.flatnonzero((indices >= start) & (indices < stop))
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            images[some] = part.images[indices[some] - start]
        if labelled:
            labels[rows] = part.labels[indices[rows] - start]
        start = stop
    return Labelled(images, labels)


def _require_images(source, **splits):
    for name, part in splits.items():
        if len(part.images) == 0:
            raise _too_few(source, name)


def _too_few(source, name):
    images = len(source.train.images)
    return UserError(
        f"{source.provenance}: {number_of(images, 'image')} {'is' if images == 1 else 'are'} too few for the splits "
        f"asked for, the {name} split would be empty; give a few dozen at least, or change data.validation or "
        "data.num_folds"
    )
