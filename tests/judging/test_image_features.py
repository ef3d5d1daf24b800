"""The feature extractor: what it learns, that it is the same every time, and that its cache can be trusted."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtvae_jax.data import load_dataset
from mtvae_jax.data.dataset import Dataset, fingerprint
from mtvae_jax.judging import image_features
from mtvae_jax.judging.classifier import Classifier
from mtvae_jax.judging.distribution_metrics import frechet_distance
from mtvae_jax.judging.image_features import train_feature_extractor

FEW_STEPS = 5


def train(dataset, **arguments):
    return train_feature_extractor(dataset, **({"stream": io.StringIO()} | arguments))


@pytest.fixture(scope="module")
def real_digits():
    return load_dataset("mnist_sample", max_train=1500)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("features") / "a" / "b"


@pytest.fixture(scope="module")
def extractor(real_digits, cache_dir):
    return train(real_digits, cache_dir=cache_dir, num_steps=120)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(image_features, "_train", lambda *_: pytest.fail("trained again"))


@pytest.fixture
def trainings(monkeypatch):
    """A list that grows at each training, which gives random weights at once."""
    made = []

    def fake(model, dataset, classes, num_steps, key):
        made.append(num_steps)
        random = np.random.default_rng(0)
        shapes = jax.eval_shape(model.init, key, jnp.zeros((1, *dataset.image_shape)))
        return jax.tree.map(lambda leaf: random.uniform(size=leaf.shape).astype(np.float32), shapes)

    monkeypatch.setattr(image_features, "_train", fake)
    return made


def synthetic(num=60, shape=(8, 8, 1), labels=None, seed=0):
    """Noise with a bright upper left corner, so that a flipped image is told from one that is not."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (num, *shape), np.uint8)
    images[:, : shape[0] // 2, : shape[1] // 2] += 150
    splits = {"train": images, "validation": images[:20], "test": images[:20]}
    labels = {f"{split}_labels": None if labels is None else labels[: len(splits[split])] for split in splits}
    arrays = splits | labels
    return Dataset(name="corners", provenance="", fingerprint=fingerprint(arrays.values()), **arrays)


# ----------------------------------------------------------------------------------------------------- what it learns


def test_it_tells_digits_apart_and_says_so(real_digits, extractor):
    assert 0.9 < extractor.accuracy <= 1
    assert extractor.description == (
        f"penultimate features of a classifier trained on mnist_sample, validation accuracy {extractor.accuracy:.2f}"
    )
    # Features alone tell digits apart, by the nearest class mean.
    features, labels = extractor(real_digits.train[:512]), real_digits.train_labels[:512]
    means = np.stack([features[labels == digit].mean(axis=0) for digit in range(10)])
    distances = np.linalg.norm(extractor(real_digits.validation)[:, None] - means, axis=-1)
    assert np.mean(distances.argmin(axis=1) == real_digits.validation_labels) > 0.9


def test_frechet_distance_grows_with_noise(real_digits, extractor):
    real, noise = real_digits.train[:200], np.random.default_rng(0).normal(size=(200, 28, 28, 1))
    noisy = [np.clip(real_digits.train[200:400] / 255 + std * noise, 0, 1) for std in (0, 0.05, 0.2, 0.5)]
    distances = [frechet_distance(extractor(real), extractor(images)) for images in noisy]
    assert distances == sorted(distances)
    assert distances[-1] > 5 * distances[0]


@pytest.mark.parametrize("labels", [None, np.full(60, 3, np.int32)])
def test_without_labels_to_tell_apart_it_tells_flips_apart(labels):
    extractor = train(synthetic(labels=labels), num_steps=40)
    assert extractor.accuracy > 0.95
    assert extractor.description.startswith("penultimate features of a classifier of flips trained on corners, ")


def test_flips_are_the_four_of_the_image():
    images = np.random.default_rng(0).uniform(size=(4, 5, 6, 2))
    flipped = image_features._flip(jnp.asarray(images), jnp.arange(4))
    expected = [images[0], images[1, :, ::-1], images[2, ::-1], images[3, ::-1, ::-1]]
    np.testing.assert_allclose(flipped, expected, rtol=1e-6)


def test_shifts_repeat_the_edges():
    """By up to two pixels of 28 × 29, each way alike often."""
    rows, columns = np.meshgrid(np.arange(28), np.arange(29), indexing="ij")
    images = jnp.broadcast_to(jnp.asarray(np.stack([rows, columns], axis=-1), jnp.float32), (300, 28, 29, 2))
    shifted = np.asarray(jax.jit(image_features._shift)(jax.random.key(0), images))
    shifts = shifted[:, 10, 10] - 10
    for image, (down, right) in zip(shifted, shifts, strict=True):
        np.testing.assert_array_equal(image[..., 0], np.clip(rows + down, 0, 27))
        np.testing.assert_array_equal(image[..., 1], np.clip(columns + right, 0, 28))
    assert {tuple(shift) for shift in shifts} == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_labels_may_be_any_integers_and_unknown_ones_count_as_wrong():
    labels = np.tile(np.asarray([-7, 1000], np.int32), 30)
    dataset = synthetic(labels=labels)
    dataset.train[labels == 1000] //= 4
    assert train(dataset, num_steps=60).accuracy == 1
    unknown = dataclasses.replace(dataset, validation_labels=np.where(np.arange(20) < 5, 0, labels[:20]))
    assert train(unknown, num_steps=60).accuracy == 0.75


@pytest.mark.parametrize(
    ("right", "warns"), [(20, False), (15, False), (14, True), (10, True)], ids=["all", "half way", "below", "guessing"]
)
def test_a_classifier_nearer_to_guessing_than_to_the_truth_says_so(right, warns, trainings, monkeypatch):
    """Two classes, half of the images each: guessing is right on 10 of 20, half way to all of them are 15."""
    labels = np.tile(np.asarray([0, 1], np.int32), 30)
    answers = np.where(np.arange(20) < right, labels[:20], 1 - labels[:20])
    monkeypatch.setattr(image_features, "_in_batches", lambda *_, **__: lambda images: answers)
    extractor = train(synthetic(labels=labels), num_steps=FEW_STEPS)
    assert extractor.accuracy == right / 20
    assert (extractor.warning is not None) == warns
    if warns:
        assert f"right on {right / 20:.0%} of the validation images" in extractor.warning
        assert "guessing is right on 50%" in extractor.warning


def test_the_most_frequent_class_is_what_guessing_is_right_on(trainings, monkeypatch):
    """Of 20 labels 18 are 0: 90 % of right answers are no merit, and 94 % less than half of what is left."""
    labels = np.asarray([1, 1] + [0] * 58, np.int32)
    monkeypatch.setattr(image_features, "_in_batches", lambda *_, **__: lambda images: np.zeros(20, int))
    extractor = train(synthetic(labels=labels), num_steps=FEW_STEPS)
    assert extractor.accuracy == 0.9
    assert "guessing is right on 90%" in extractor.warning


# ---------------------------------------------------------------------------------------------------- how it is called


@pytest.mark.parametrize("num", [1, 256, 300])
def test_features_do_not_depend_on_the_batch(real_digits, extractor, num):
    features = extractor(real_digits.train[:num])
    assert features.shape == (num, 128)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features[-1:], extractor(real_digits.train[num - 1 : num]))


def test_bytes_and_floats_have_the_same_features(real_digits, extractor):
    images = real_digits.train[:10]
    floats = images.astype(np.float32) / 255
    np.testing.assert_array_equal(extractor(images), extractor(floats))
    np.testing.assert_array_equal(extractor(images), extractor(jnp.asarray(floats)))


def test_images_of_another_shape_are_refused(extractor):
    with pytest.raises(ValueError, match=r"\[N, 28, 28, 1\]"):
        extractor(np.zeros((2, 28, 28, 3), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 12, 3), (33, 16, 4)])
def test_images_of_any_size_have_features(shape):
    features, logits = jax.eval_shape(
        lambda key: Classifier(7, num_features=9).init_with_output(key, jnp.zeros((2, *shape)))[0], jax.random.key(0)
    )
    assert (features.shape, logits.shape) == ((2, 9), (2, 7))


# -------------------------------------------------------------------------------------------------- the same every time


def test_training_again_gives_the_same_bits_and_another_seed_others():
    dataset = synthetic()
    features = [train(dataset, num_steps=FEW_STEPS, seed=seed)(dataset.test) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(features[0], features[1])
    assert np.abs(features[0] - features[2]).max() > 0.1


def test_training_in_several_calls_is_training_in_one(monkeypatch):
    dataset = synthetic()
    at_once = train(dataset, num_steps=FEW_STEPS)(dataset.test)
    monkeypatch.setattr(image_features, "_STEPS_PER_CALL", 2)
    np.testing.assert_array_equal(train(dataset, num_steps=FEW_STEPS)(dataset.test), at_once)


@pytest.mark.parametrize(("num", "expected"), [(60, 500), (20_000, 625), (60_000, 1300)])
def test_steps_follow_the_number_of_images_within_bounds(num, expected, trainings):
    train(synthetic(num, (1, 1, 1)))
    assert trainings == [expected]


# ------------------------------------------------------------------------------------------------------------ the cache


def cache_file(cache_dir):
    (path,) = cache_dir.iterdir()  # nothing incomplete is left beside it
    return path


@pytest.mark.usefixtures("no_training")
def test_the_cache_gives_the_same_extractor_without_training(real_digits, extractor, cache_dir):
    stream = io.StringIO()
    again = train(real_digits, cache_dir=cache_dir, num_steps=120, stream=stream)
    assert (again.description, again.accuracy) == (extractor.description, extractor.accuracy)
    np.testing.assert_array_equal(again(real_digits.test), extractor(real_digits.test))
    assert stream.getvalue() == ""


def test_other_data_seeds_steps_and_versions_have_caches_of_their_own(tmp_path, monkeypatch, trainings):
    dataset = synthetic()
    train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS)
    train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS, seed=1)
    train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS + 1)
    train(synthetic(seed=1), cache_dir=tmp_path, num_steps=FEW_STEPS)
    monkeypatch.setattr(image_features, "_VERSION", 0)
    train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS)
    assert len(list(tmp_path.iterdir())) == len(trainings) == 5


def test_a_damaged_cache_is_written_anew(tmp_path, trainings):
    dataset = synthetic()
    expected = train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS)(dataset.test)
    path = cache_file(tmp_path)
    whole = path.read_bytes()

    middle = len(whole) // 2
    other = io.BytesIO()
    np.savez(other, accuracy=0.5)
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    damages = (
        b"",
        b"not an archive",
        whole[:-1],
        whole[:middle],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        other.getvalue(),
        array.getvalue(),
    )
    for count, damaged in enumerate(damages, 2):
        path.write_bytes(damaged)
        again = train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS)
        assert len(trainings) == count
        np.testing.assert_array_equal(again(dataset.test), expected)
        train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS)
        assert len(trainings) == count
    assert cache_file(tmp_path) == path


@pytest.mark.usefixtures("trainings")
def test_a_cache_that_cannot_be_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    stream = io.StringIO()
    train(synthetic(), cache_dir=tmp_path / "file" / "folder", num_steps=FEW_STEPS, stream=stream)
    last = stream.getvalue().splitlines()[-1]
    assert last == f"image features: not kept for the next run, {tmp_path / 'file' / 'folder'}: Not a directory"


@pytest.mark.parametrize("name", ["a" * 251, "面" * 83], ids=["ascii", "three bytes a character"])
def test_the_cache_has_room_for_every_name_that_a_data_file_can_have(name, tmp_path, trainings):
    """A file name of Linux has 255 bytes, of which .npz are four."""
    dataset = dataclasses.replace(synthetic(), name=name)
    for _ in range(2):
        train(dataset, cache_dir=tmp_path, num_steps=FEW_STEPS)
    assert len(trainings) == 1
    cache_file(tmp_path)


def test_progress_says_what_it_trains_and_how_well(capsys):
    train_feature_extractor(synthetic(), num_steps=FEW_STEPS)
    first, last = capsys.readouterr().out.splitlines()
    assert first == "image features: a classifier of flips trained on corners, 5 steps"
    assert last.startswith("image features: validation accuracy 0.")
