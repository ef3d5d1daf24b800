"""The adapter that spares tensorflow-datasets TensorFlow: does what it must, and undoes it."""

import io
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import extractor, resource
from tensorflow_datasets.core.features import image_feature
from tensorflow_datasets.image_classification import cifar, mnist

from mtvae_jax.data import without_tensorflow as adapter
from mtvae_jax.errors import UserError


def replaced():
    return (
        extractor.tf,
        extractor._EXTRACT_METHODS,
        image_feature._ImageEncoder._encode_image,
        mnist.tf,
        cifar.tf,
    )


@pytest.fixture
def builder(tmp_path):
    return tfds.builder_cls("mnist")(data_dir=tmp_path, file_format="array_record")


def test_everything_is_put_back_even_after_an_error(builder):
    before = replaced()
    with adapter.without_tensorflow(builder):
        within = replaced()
    assert sum(now is not then for now, then in zip(within, before, strict=True)) == 4  # all but CIFAR's
    assert all(now is then for now, then in zip(replaced(), before, strict=True))
    with pytest.raises(ZeroDivisionError), adapter.without_tensorflow(builder):
        1 / 0  # noqa: B018
    assert all(now is then for now, then in zip(replaced(), before, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_encoded_without_loss(channels, builder):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, channels), np.uint8)
    with adapter.without_tensorflow(builder):
        encoded = tfds.features.Image(shape=image.shape).encode_example(image)
    with Image.open(io.BytesIO(encoded)) as decoded:
        assert decoded.format == "PNG"
        np.testing.assert_array_equal(np.asarray(decoded).reshape(image.shape), image)


def test_members_of_a_zip_can_be_read_after_the_last_was_listed(builder, tmp_path):
    contents = {f"folder/{i}.jpg": bytes([i]) * (i + 1) for i in range(20)}
    with zipfile.ZipFile(tmp_path / "photographs.zip", "w") as archive:
        archive.writestr("folder/", b"")
        for name, content in contents.items():
            archive.writestr(name, content)
    with adapter.without_tensorflow(builder):
        members = dict(extractor.iter_archive(tmp_path / "photographs.zip", resource.ExtractMethod.ZIP))
        assert {name: member.read() for name, member in reversed(members.items())} == contents


@pytest.mark.parametrize("version", ["4.9.9", "4.10.0", "5.0.0", "4.9"])
def test_an_untried_release_is_refused(version, builder, monkeypatch):
    before = replaced()
    monkeypatch.setattr(tfds, "__version__", version)
    with pytest.raises(UserError, match=rf"^tensorflow-datasets {version} cannot .*; pip install"), (
        adapter.without_tensorflow(builder)
    ):
        pass
    assert replaced() == before


@pytest.mark.parametrize("version", ["4.9.10", "4.9.11", "4.9.10+nightly"])
def test_a_tried_release_is_taken(version, builder, monkeypatch):
    monkeypatch.setattr(tfds, "__version__", version)
    with adapter.without_tensorflow(builder):
        pass


def test_whether_tensorflow_is_installed_is_asked_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert adapter.tensorflow_is_installed()
    assert "tensorflow" not in sys.modules
