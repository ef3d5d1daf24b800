"""Datasets of tensorflow-datasets, from archives laid out as the real ones to arrays."""

import contextlib
import functools
import http.server
import json
import shutil
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data import fabricated

from mtvae_jax.data import DatasetUnavailable, load_dataset, prepared
from mtvae_jax.errors import UserError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every proxy is a closed port, so that no test ever downloads anything; this machine can still be asked."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


def labelled(images, labels):
    """The pairs of image and label, whatever their order."""
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def whole_splits(name, directory):
    """{split: (images, labels)} as prepared, before any splitting of ours."""
    source = prepared.read(name, directory)
    return {split: part for split in ("train", "validation", "test") if (part := getattr(source, split)) is not None}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_every_image_and_label_of_the_archives_arrives_once(name, tmp_path, monkeypatch):
    archives = fabricated.ALL[name](tmp_path / "downloads" / "manual", monkeypatch)
    found = whole_splits(name, tmp_path)
    assert found.keys() == archives.keys()
    for split, (images, labels) in archives.items():
        assert labelled(*found[split]) == labelled(images, labels)
        assert found[split].images.dtype == np.uint8
        assert found[split].labels.dtype == np.int32


def test_celeb_a_is_its_central_square_resized_with_antialiasing(tmp_path, monkeypatch):
    archives = fabricated.celeb_a(tmp_path, monkeypatch)
    found = whole_splits("celeb_a", tmp_path)
    assert found.keys() == archives.keys()
    for split, (photographs, _) in archives.items():
        expected = [resized(photograph[20:198]) for photograph in photographs]
        images = found[split].images
        assert images.shape == (len(photographs), 64, 64, 3)
        assert found[split].labels is None
        distance = np.array([[np.abs(image - face).max() for face in expected] for image in images])
        assert sorted(distance.argmin(axis=1)) == list(range(len(photographs)))  # each photograph once
        assert distance.min(axis=1).max() <= 1.01  # Pillow rounds to 8 bits after each of two passes


def resized(square):
    """float64 [64, 64, 3]: a triangle filter as wide as the change of scale, along each axis."""
    side = len(square)
    scale = side / 64
    centres = (np.arange(64) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(side) + 0.5 - centres[:, None]) / scale)  # [64, side]
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("yh,xw,hwc->yxc", weights, weights, square.astype(np.float64), optimize=True)


def test_celeb_a_keeps_its_validation_split_and_pools_it_for_folds(tmp_path, monkeypatch):
    fabricated.celeb_a(tmp_path, monkeypatch)
    official = prepared.read("celeb_a", tmp_path)
    dataset = load_dataset("celeb_a", directory=tmp_path, validation=0.5)
    np.testing.assert_array_equal(dataset.train, official.train.images)
    np.testing.assert_array_equal(dataset.validation, official.validation.images)
    assert dataset.provenance == "tensorflow-datasets celeb_a 2.1.0"

    pool = [image.tobytes() for part in (official.train, official.validation) for image in part.images]
    folds = [load_dataset("celeb_a", directory=tmp_path, fold=i, num_folds=3).validation for i in range(3)]
    assert sorted(image.tobytes() for fold in folds for image in fold) == sorted(pool)


def test_read_again_from_the_arrays_alone(tmp_path, monkeypatch):
    fabricated.mnist(tmp_path, monkeypatch)
    first = load_dataset("mnist", directory=tmp_path)
    for file in (tmp_path / "mnist" / "3.0.1").glob("*array_record*"):
        file.unlink()
    again = load_dataset("mnist", directory=str(tmp_path))
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.train, first.train)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"\x99"])
def test_damaged_arrays_are_made_anew(damage, tmp_path, monkeypatch):
    fabricated.mnist(tmp_path, monkeypatch)
    first = load_dataset("mnist", directory=tmp_path)
    cached = tmp_path / "mnist" / "3.0.1" / "mtvae_jax" / "train_images.npy"
    whole = cached.read_bytes()
    cached.write_bytes(damage(whole))
    assert load_dataset("mnist", directory=tmp_path).fingerprint == first.fingerprint
    assert cached.read_bytes() == whole


def test_files_of_the_same_name_do_not_pass_for_another_dataset(tmp_path, monkeypatch):
    archives = {
        name: fabricated.ALL[name](tmp_path / "downloads" / "manual" / name, monkeypatch)
        for name in ("fashion_mnist", "mnist")
    }
    for name, splits in archives.items():
        assert labelled(*whole_splits(name, tmp_path)["train"]) == labelled(*splits["train"])


def test_a_file_with_a_wrong_checksum_is_named(tmp_path, monkeypatch):
    fabricated.mnist(tmp_path, monkeypatch)
    wrong = tmp_path / "train-labels-idx1-ubyte.gz"
    wrong.write_bytes(b"something else")
    with pytest.raises(UserError, match="wrong checksum") as error:
        load_dataset("mnist", directory=tmp_path)
    assert str(error.value).startswith(f"{wrong}: not the file that mnist needs (14 bytes with")
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, DatasetUnavailable)  # a substitute would hide the user's mistake


def test_no_network_is_known_within_seconds_and_leaves_no_trace(tmp_path):
    started = time.monotonic()
    with pytest.raises(DatasetUnavailable, match="cannot be downloaded") as error:
        load_dataset("mnist", directory=tmp_path / "nowhere")
    assert time.monotonic() - started < 10
    assert "train-images-idx3-ubyte.gz" in str(error.value)
    assert str(tmp_path / "nowhere" / "downloads" / "manual") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "nowhere").exists()


def test_one_file_missing_without_a_network_is_named(tmp_path, monkeypatch):
    fabricated.mnist(tmp_path, monkeypatch)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetUnavailable, match=r"or put t10k-labels-idx1-ubyte\.gz into"):
        load_dataset("mnist", directory=tmp_path)


@contextlib.contextmanager
def serving(folder, monkeypatch):
    """Has MNIST's files downloaded from a web server on this machine."""
    answered = threading.Semaphore(0)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            super().do_GET()
            answered.release()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        builder_class = tfds.builder_cls("mnist")
        infos = {address + info.filename: info for info in builder_class.url_infos.values()}
        monkeypatch.setattr(builder_class, "URL", address)
        monkeypatch.setattr(builder_class, "url_infos", infos)
        yield
        # The probe and four files: a download that loses its server would be retried for minutes, by a thread that
        # keeps this process alive.
        assert all(answered.acquire(timeout=10) for _ in range(5))
        server.shutdown()


def test_what_is_not_here_is_downloaded_once(tmp_path, monkeypatch):
    archives = fabricated.mnist(tmp_path / "web", monkeypatch)
    with serving(tmp_path / "web", monkeypatch):
        assert labelled(*whole_splits("mnist", tmp_path)["test"]) == labelled(*archives["test"])
    shutil.rmtree(tmp_path / "mnist")
    assert labelled(*whole_splits("mnist", tmp_path)["test"]) == labelled(*archives["test"])  # the server is gone


def test_a_download_with_a_wrong_checksum_is_no_data(tmp_path, monkeypatch):
    fabricated.mnist(tmp_path / "web", monkeypatch)
    (tmp_path / "web" / "t10k-images-idx3-ubyte.gz").write_bytes(b"<html>Please log in to the network</html>")
    with serving(tmp_path / "web", monkeypatch), pytest.raises(DatasetUnavailable, match="wrong checksum"):
        load_dataset("mnist", directory=tmp_path)


def test_records_of_tensorflow_are_left_alone(tmp_path, monkeypatch):
    archives = fabricated.mnist(tmp_path, monkeypatch)
    prepared.read("mnist", tmp_path)
    folder = tmp_path / "mnist" / "3.0.1"
    shutil.rmtree(folder / "mtvae_jax")
    for file in folder.glob("*array_record*"):
        file.rename(folder / file.name.replace("array_record", "tfrecord"))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(info))

    before = sorted(folder.iterdir())
    assert labelled(*whole_splits("mnist", tmp_path)["train"]) == labelled(*archives["train"])
    assert sorted(folder.iterdir()) == before
    assert (tmp_path / "array_record" / "mnist" / "3.0.1").is_dir()
    shutil.rmtree(tmp_path / "array_record" / "mnist" / "3.0.1" / "mtvae_jax")
    assert labelled(*whole_splits("mnist", tmp_path)["train"]) == labelled(*archives["train"])


@pytest.mark.parametrize("file", ["mnist-train.array_record-00000-of-00001", "dataset_info.json"])
def test_damaged_records_are_named(file, tmp_path, monkeypatch):
    fabricated.mnist(tmp_path, monkeypatch)
    prepared.read("mnist", tmp_path)
    folder = tmp_path / "mnist" / "3.0.1"
    shutil.rmtree(folder / "mtvae_jax")
    (folder / file).write_bytes((folder / file).read_bytes()[:100])
    with pytest.raises(UserError, match=r"damaged .*; remove that folder$") as error:
        load_dataset("mnist", directory=tmp_path)
    assert str(tmp_path / "mnist") in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_cannot_be_used_are_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match=r"data\.dir = .*file: not a folder"):
        load_dataset("mnist", directory=file)
    with pytest.raises(UserError, match=r"data\.dir = 'gs://bucket': must be a local folder"):
        load_dataset("mnist", directory="gs://bucket")


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    fabricated.mnist(tmp_path, monkeypatch)

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(prepared.array_cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match=r"data\.dir = .*Permission denied.*another folder"):
        load_dataset("mnist", directory=tmp_path)


def test_without_the_package_a_dataset_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DatasetUnavailable, match=r"not installed .*pip install"):
        load_dataset("mnist", directory=tmp_path)


def test_nothing_is_printed_or_logged(tmp_path, monkeypatch, capfd, caplog):
    fabricated.mnist(tmp_path, monkeypatch)
    load_dataset("mnist", directory=tmp_path)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
