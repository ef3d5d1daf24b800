"""Splits: fixed, disjoint, complete, never empty; labels follow their images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtvae_jax.data import splits
from mtvae_jax.data.source import Labelled, Source
from mtvae_jax.errors import UserError


def numbered(start, count, labels=True):
    """Images [count, 1, 2, 1] that each say which number they are."""
    numbers = np.arange(start, start + count)
    images = np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8).reshape(count, 1, 2, 1)
    return Labelled(images, numbers.astype(np.int32) if labels else None)


def numbers_of(part):
    pairs = part.images.reshape(-1, 2).astype(int)
    numbers = 256 * pairs[:, 0] + pairs[:, 1]
    if part.labels is not None:
        np.testing.assert_array_equal(numbers, part.labels)
    return numbers.tolist()


def source(train, validation=0, test=0):
    return Source(
        "numbers",
        "somewhere",
        train=numbered(0, train),
        validation=numbered(train, validation) if validation else None,
        test=numbered(train + validation, test) if test else None,
    )


def split(source, validation=0.1, fold=None, num_folds=None, max_train=None):
    splits.check_arguments(validation, fold, num_folds, max_train)
    found = splits.split(source, validation=validation, fold=fold, num_folds=num_folds, max_train=max_train)
    return [numbers_of(part) for part in found]


@given(
    n=st.integers(20, 400),
    test=st.sampled_from([0, 1, 30]),
    validation=st.sampled_from([0.05, 0.1, 0.5, 0.9]),
)
def test_train_and_validation_share_no_image_and_miss_none(n, test, validation):
    train, held_out, tested = split(source(n, test=test), validation)
    images_to_train = n if test else n - round(n / 10)
    assert len(held_out) == round(validation * images_to_train)
    if test:
        assert tested == list(range(n, n + test))
        assert sorted(train + held_out) == list(range(n))
    else:
        assert len(tested) == round(n / 10)
        assert sorted(train + held_out + tested) == list(range(n))


@given(
    n=st.integers(20, 300),
    official=st.sampled_from([0, 17]),
    test=st.sampled_from([0, 5]),
    k=st.integers(2, 9),
)
@settings(max_examples=50)
def test_folds_are_disjoint_and_cover_all_but_test(n, official, test, k):
    data = source(n, official, test)
    found = [split(data, fold=i, num_folds=k) for i in range(k)]
    tested = found[0][2]
    pool = sorted(set(range(n + official)) - set(tested))
    assert sorted(image for _, held_out, _ in found for image in held_out) == pool
    sizes = {len(held_out) for _, held_out, _ in found}
    assert max(sizes) - min(sizes) <= 1
    for train, held_out, again in found:
        assert sorted(train + held_out) == pool
        assert again == tested


def test_the_test_split_is_the_same_for_every_way_to_validate():
    data = source(100)
    tested = split(data)[2]
    assert split(data, 0.5)[2] == split(data, 0)[2] == split(data, fold=1, num_folds=4)[2] == tested


def test_without_validation_the_test_split_serves():
    train, held_out, tested = split(source(50, test=7), validation=0)
    assert sorted(train) == list(range(50))
    assert held_out == tested == list(range(50, 57))


@pytest.mark.parametrize("validation", [0, 0.1, 0.7])
def test_an_official_validation_split_stays(validation):
    train, held_out, _ = split(source(50, 8, 7), validation)
    assert train == list(range(50))
    assert held_out == list(range(50, 58))


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        (source(50, test=7), {}),
        (source(50), {"validation": 0}),
        (source(50, 8, 7), {}),
        (source(50, 8, 7), {"fold": 1, "num_folds": 3}),
    ],
)
def test_max_train_cuts_the_training_split_alone(data, arguments):
    train, *others = split(data, **arguments)
    assert split(data, **arguments, max_train=5) == [train[:5], *others]
    assert split(data, **arguments, max_train=10**6) == [train, *others]


def test_each_fold_has_training_images_of_its_own_after_a_cut():
    """Two folds of three share half of their images at most, as they would uncut; all but the first were the same."""
    found = [set(split(source(90, test=7), fold=i, num_folds=3, max_train=30)[0]) for i in range(3)]
    assert all(len(a & b) <= 15 for i, a in enumerate(found) for b in found[:i])


def test_the_permutation_never_changes():
    """The stream of RandomState is frozen: these stay for ever, or results before and after cannot be compared."""
    train, held_out, _ = split(source(60, test=1))
    assert held_out == [26, 35, 59, 28, 11, 2]
    assert train[:6] == [34, 58, 40, 22, 4, 10]


@given(st.data())
def test_take_equals_indexing_the_concatenation(data):
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    starts = np.cumsum([0, *sizes[:-1]])
    parts = [numbered(start, size) for start, size in zip(starts, sizes, strict=True)]
    indices = np.array(data.draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=30)), int)
    rows_at_once, splits.ROWS_AT_ONCE = splits.ROWS_AT_ONCE, 4
    try:
        taken = splits.take(parts, indices)
    finally:
        splits.ROWS_AT_ONCE = rows_at_once
    np.testing.assert_array_equal(taken.images, np.concatenate([part.images for part in parts])[indices])
    np.testing.assert_array_equal(taken.labels, indices)


def test_labels_of_some_parts_alone_are_dropped():
    assert splits.take([numbered(0, 3), numbered(3, 3, labels=False)], np.array([1, 4])).labels is None


@pytest.mark.parametrize(
    ("data", "arguments", "empty"),
    [
        (source(4), {"validation": 0.5}, "test"),
        (source(20, test=1), {"validation": 0.01}, "validation"),
        (source(3, test=1), {"validation": 0.9}, "train"),
        (source(1, test=1), {"fold": 1, "num_folds": 2}, "validation"),
    ],
)
def test_a_split_that_would_be_empty_is_refused(data, arguments, empty):
    with pytest.raises(UserError, match=f"^somewhere: .* too few .* the {empty} split would be empty"):
        split(data, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 1}, "data.validation = 1: must be a fraction of at least 0 and below 1"),
        ({"validation": -0.1}, "data.validation = -0.1: must"),
        ({"validation": float("nan")}, "data.validation = nan: must"),
        ({"validation": "0.1"}, "data.validation = 0.1: must"),
        ({"validation": True}, "data.validation = True: must"),
        ({"fold": 1}, "data.num_folds: cross-validation needs both"),
        ({"num_folds": 3}, "data.fold: cross-validation needs both"),
        ({"fold": 3, "num_folds": 3}, "data.fold = 3: must be an integer in 0 … 2"),
        ({"fold": -1, "num_folds": 3}, "data.fold = -1: must"),
        ({"fold": 0, "num_folds": 1}, "data.num_folds = 1: must be an integer of at least 2"),
        ({"fold": 0, "num_folds": 2.5}, "data.num_folds = 2.5: must"),
        ({"max_train": 0}, "data.max_train = 0: must be an integer of at least 1"),
        ({"max_train": 1.5}, "data.max_train = 1.5: must"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(UserError) as error:
        split(source(50, test=7), **arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
