"""What is said of odd images, on inputs whose counts are known because they were made so."""

import numpy as np
import pytest

from mtvae_jax.data import load_dataset

RANDOM = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 1), np.uint8)


@pytest.fixture
def remarks_on(tmp_path):
    """A function images, … → the remarks of the dataset that they are as an npz file."""

    def remarks(images, *, validation=0.1, **arrays):
        np.savez(tmp_path / "odd.npz", images=images, **arrays)
        return load_dataset(f"npz:{tmp_path / 'odd.npz'}", validation=validation).remarks

    return remarks


def test_ordinary_images_need_no_remark(remarks_on):
    assert remarks_on(RANDOM) == ()
    assert load_dataset("mnist_sample").remarks == ()


def test_six_images_ten_times_are_one_split_and_not_three(remarks_on, tmp_path):
    remarks = remarks_on(np.tile(RANDOM[:6], (10, 1, 1, 1)))
    assert remarks[:2] == (
        "all 5 validation images are training images too, to the bit: figures on them are not of unseen images",
        "all 6 test images are training images too, to the bit: figures on them are not of unseen images",
    )
    data = load_dataset(f"npz:{tmp_path / 'odd.npz'}")
    copies = (data.test[:, None] == data.validation).all(axis=(2, 3, 4)).any(axis=1)  # each with each
    assert remarks[2].startswith(f"{copies.sum()} of 6 test images are validation images too, to the bit")


def test_copies_are_counted_split_by_split(remarks_on):
    train, held_out = RANDOM[:40], RANDOM[40:]
    mixed = np.concatenate([held_out[:7], train[:3]])
    assert remarks_on(train, validation_images=mixed, test_images=held_out[5:9]) == (
        "3 of 10 validation images are training images too, to the bit: figures on them are not of unseen images",
        "2 of 4 test images are validation images too, to the bit: figures on them are not of unseen images",
    )


@pytest.mark.parametrize(("value", "colour"), [(0, "black"), (255, "white"), (9, "of the one level 9")])
def test_images_of_one_value_are_named(value, colour, remarks_on):
    remarks = remarks_on(np.full((20, 4, 4, 3), value, np.uint8))
    assert remarks[0] == f"all training images are {colour}: there is nothing to learn"
    assert remarks[1] == "all 16 training images are of one colour"


def test_images_of_one_colour_are_counted(remarks_on):
    images = np.concatenate([np.repeat(RANDOM, 3, axis=-1), np.full((2, 6, 6, 3), (10, 20, 30), np.uint8)])
    assert remarks_on(images[:60], validation_images=images[:1], test_images=images[59:])[-2:] == (
        "all 1 validation images are training images too, to the bit: figures on them are not of unseen images",
        "1 of 3 test images are training images too, to the bit: figures on them are not of unseen images",
    )
    assert "2 of 3 test images are of one colour" in remarks_on(
        images[:60], validation_images=255 - images[:1], test_images=images[59:]
    )


def test_images_within_a_few_levels_are_named(remarks_on):
    (remark,) = remarks_on(100 + RANDOM % 5)
    assert remark.startswith("the training images use only the levels 100 … 104 of 0 … 255")


def test_a_test_split_that_chooses_the_epoch_is_named_once(remarks_on):
    (remark,) = remarks_on(RANDOM, validation=0)
    assert remark.startswith("the validation images are the test images: the best epoch is chosen on them")
