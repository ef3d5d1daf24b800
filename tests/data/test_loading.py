"""`load_dataset`: names, the shipped sample, fingerprints."""

import subprocess
import sys

import numpy as np
import pytest

from mtvae_jax.data import DATASETS, Dataset, load_dataset
from mtvae_jax.errors import UserError


@pytest.fixture(scope="module")
def sample():
    return load_dataset("mnist_sample")


def test_the_sample_is_five_thousand_labelled_digits(sample):
    assert isinstance(sample, Dataset)
    assert sample.name == "mnist_sample"
    assert sample.provenance == "sample shipped with mtvae_jax"
    assert sample.image_shape == (28, 28, 1)
    assert [len(part) for part in (sample.train, sample.validation, sample.test)] == [4050, 450, 500]
    labels = np.concatenate([sample.train_labels, sample.validation_labels, sample.test_labels])
    assert np.bincount(labels).tolist() == [500] * 10


def test_the_same_data_split_the_same_have_the_same_fingerprint_for_ever(sample):
    assert sample.fingerprint == "767b0b632107d9b6"
    assert load_dataset("mnist_sample", validation=0.1).fingerprint == sample.fingerprint


@pytest.mark.parametrize(
    "arguments", [{"validation": 0.2}, {"validation": 0}, {"fold": 1, "num_folds": 10}, {"max_train": 4049}]
)
def test_another_split_has_another_fingerprint(arguments, sample):
    assert load_dataset("mnist_sample", **arguments).fingerprint != sample.fingerprint


@pytest.mark.parametrize("key", ["images", "labels", "test_images", "test_labels"])
def test_one_other_value_is_another_fingerprint(key, tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "images": random.integers(0, 256, (30, 4, 4, 1), np.uint8),
        "labels": np.arange(30),
        "test_images": random.integers(0, 256, (5, 4, 4, 1), np.uint8),
        "test_labels": np.arange(5),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "same.npz", **arrays)
    arrays[key] = arrays[key].copy()
    arrays[key].flat[3] ^= 1
    np.savez(tmp_path / "other.npz", **arrays)
    a, same, other = (load_dataset(f"npz:{tmp_path / name}.npz").fingerprint for name in ("a", "same", "other"))
    assert a == same != other


def test_the_same_bytes_in_another_shape_are_another_fingerprint(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 6, 1), np.uint8)
    np.savez(tmp_path / "wide.npz", images=images)
    np.savez(tmp_path / "high.npz", images=images.reshape(30, 6, 4, 1))
    assert (
        load_dataset(f"npz:{tmp_path}/wide.npz").fingerprint != load_dataset(f"npz:{tmp_path}/high.npz").fingerprint
    )


def test_arrays_cannot_be_changed_by_accident(sample):
    for array in (sample.train, sample.validation, sample.test, sample.train_labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_an_npz_takes_its_name_from_the_file(tmp_path):
    np.savez(tmp_path / "faces.npz", images=np.full((30, 4, 6, 3), 9, np.uint8))
    dataset = load_dataset(f"npz:{tmp_path}/faces.npz", directory="/nowhere", max_train=3)
    assert (dataset.name, dataset.provenance) == ("faces", f"npz:{tmp_path}/faces.npz")
    assert dataset.image_shape == (4, 6, 3)
    assert dataset.train_labels is dataset.validation_labels is dataset.test_labels is None
    assert len(dataset.train) == 3


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("minst", "did you mean mnist?"),
        ("CelebA", "did you mean celeb_a?"),
        ("FashionMNIST", "did you mean fashion_mnist?"),
        ("own.npz", "did you mean npz:own.npz?"),
        ("imagenet64", None),
        ("", None),
        (None, None),
    ],
)
def test_an_unknown_name_lists_the_known_and_the_nearest(name, hint):
    with pytest.raises(UserError) as error:
        load_dataset(name)
    line = str(error.value)
    must_be = f"must be one of {', '.join(DATASETS)}, folder:PATH, npz:PATH or npy:PATH"
    assert line.startswith(f"data.name = {name}: {must_be}")
    assert line.endswith(hint) if hint else line.endswith("PATH")


@pytest.mark.parametrize("directory", [5, "", "a\0b", b"bytes"])
def test_a_data_folder_that_is_no_path_is_refused(directory):
    with pytest.raises(UserError, match=r"^data.dir = .*: must be a local folder"):
        load_dataset("mnist", directory=directory)


def test_more_folds_than_images_are_refused_before_they_are_made():
    with pytest.raises(UserError, match="too few for the splits asked for"):
        load_dataset("mnist_sample", fold=0, num_folds=2**31 - 1)


def test_too_few_images_name_the_file(tmp_path):
    np.savez(tmp_path / "few.npz", images=np.full((6, 4, 4), 9, np.uint8))
    with pytest.raises(UserError, match=rf"^npz:{tmp_path}/few\.npz: 6 images are too few"):
        load_dataset(f"npz:{tmp_path}/few.npz")


def test_the_sample_needs_nothing_of_tensorflow_datasets():
    program = (
        "import sys; from mtvae_jax.data import load_dataset; load_dataset('mnist_sample');"
        "sys.exit(bool({'tensorflow', 'tensorflow_datasets', 'PIL', 'requests'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
