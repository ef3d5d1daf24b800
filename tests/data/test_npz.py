"""A user's own npz, or npy: what is taken, and one line for everything that is not."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mtvae_jax.data import load_dataset
from mtvae_jax.data.npz import read_npy, read_npz
from mtvae_jax.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 7, 3), np.uint8)


def written(folder, **arrays):
    path = folder / "own.npz"
    np.savez(path, **arrays)
    return path


def message(path):
    with pytest.raises(UserError) as error:
        read_npz(path)
    line = str(error.value)
    assert line.startswith(f"npz:{path}: ")
    assert "\n" not in line
    return line.removeprefix(f"npz:{path}: ")


def test_uint8_images_and_labels_arrive_as_they_are(tmp_path):
    labels = np.arange(12, dtype=np.int64) % 4
    source = read_npz(written(tmp_path, images=IMAGES, labels=labels, test_images=IMAGES[:2], test_labels=labels[:2]))
    np.testing.assert_array_equal(source.train.images, IMAGES)
    np.testing.assert_array_equal(source.test.images, IMAGES[:2])
    np.testing.assert_array_equal(source.train.labels, labels)
    assert source.train.labels.dtype == source.test.labels.dtype == np.int32
    assert source.validation is None
    assert source.name == "own"
    assert source.provenance == f"npz:{tmp_path / 'own.npz'}"


def test_validation_images_are_the_validation_split(tmp_path):
    labels = np.arange(12) % 4
    path = written(
        tmp_path, images=IMAGES[:8], labels=labels[:8], validation_images=IMAGES[8:], validation_labels=labels[8:]
    )
    source = read_npz(path)
    np.testing.assert_array_equal(source.validation.images, IMAGES[8:])
    np.testing.assert_array_equal(source.validation.labels, labels[8:])
    assert source.remarks == ()
    loaded = load_dataset(f"npz:{path}", validation=0.5)
    np.testing.assert_array_equal(loaded.validation, IMAGES[8:])
    assert (len(loaded.train), len(loaded.test)) == (7, 1)  # a tenth of the training images, in either case


@pytest.mark.parametrize(
    ("name", "rename"),
    [
        ("label", "; if these are the labels, rename label to labels"),
        ("val_images", "; if these are the validation_images, rename val_images to validation_images"),
        ("x_test", "; if these are the test_images, rename x_test to test_images"),
        ("train_labels", "; if these are the labels, rename train_labels to labels"),
        ("train_images", ""),  # images are there already
        ("identities", ""),
    ],
)
def test_no_array_is_ignored_in_silence(name, rename, tmp_path):
    source = read_npz(written(tmp_path, images=IMAGES, **{name: np.arange(12)}))
    assert source.remarks == (f"the array {name} of own.npz is not used{rename}",)


def test_floats_finer_than_256_levels_say_what_they_lose(tmp_path):
    # Uniform over 0 … 0.2: the error of rounding is uniform over a level, 1 / (255 √12), the spread 0.2 / √12
    images = np.random.default_rng(0).uniform(0, 0.2, (200, 8, 8, 1))
    (remark,) = read_npz(written(tmp_path, images=images)).remarks
    assert remark == (
        "images are floats finer than 256 levels and are rounded to them: an error of 0.0011, 2 % of their standard "
        "deviation"
    )
    assert f"{1 / 255 / 12**0.5:.2g} {100 / 255 / 0.2:.2g}" == "0.0011 2"


def test_labels_and_test_images_are_optional(tmp_path):
    source = read_npz(written(tmp_path, images=IMAGES))
    assert source.train.labels is None
    assert source.test is None


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, images=IMAGES)
    assert len(read_npz("~/own.npz").train.images) == 12


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_that_stand_for_256_levels_lose_nothing(dtype, tmp_path):
    source = read_npz(written(tmp_path, images=(IMAGES / 255).astype(dtype)))
    np.testing.assert_array_equal(source.train.images, IMAGES)
    assert source.remarks == ()


@given(images=hnp.arrays(np.float32, (2, 3, 3), elements=st.floats(0, 1, width=32)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_any_float_is_rounded_to_the_nearest_level(images, tmp_path):
    images[0, 0, 0] = 1  # not black
    found = read_npz(written(tmp_path, images=images)).train.images
    assert found.shape == (2, 3, 3, 1)
    assert np.abs(found[..., 0] - 255 * images.astype(np.float64)).max() <= 0.5


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint32])
def test_integers_of_0_to_255_are_taken(dtype, tmp_path):
    source = read_npz(written(tmp_path, images=IMAGES.astype(dtype)))
    np.testing.assert_array_equal(source.train.images, IMAGES)
    assert source.train.images.dtype == np.uint8


def test_images_without_a_channel_axis_get_one(tmp_path):
    assert read_npz(written(tmp_path, images=IMAGES[..., 0])).train.images.shape == (12, 5, 7, 1)


def with_value(value, dtype=np.float32):
    images = np.full((3, 4, 4, 1), 0.5, dtype)
    images[1, 2, 3, 0] = value
    return images


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"pictures": IMAGES, "labels": IMAGES}, "has no array named images, only: pictures, labels"),
        ({"image": IMAGES}, "has no array named images, only: image; rename image to images"),
        ({}, "has no array named images, only: nothing"),
        (
            {"train_images": IMAGES, "val_images": IMAGES, "test_images": IMAGES},
            "has no array named images, only: train_images, val_images, test_images; rename train_images to images",
        ),
        ({"x_train": IMAGES, "y_train": IMAGES}, "has no array named images, only: x_train, y_train; rename x_train"),
        ({"images": IMAGES / 255 / 255}, "images are floats in 0 … 0.00392157, which read as black, as if they had"),
        ({"images": (IMAGES / 255**2).astype(np.float16)}, "images are floats in 0 … 0.00392"),
        ({"images": IMAGES / 255, "test_images": IMAGES / 255**2}, "test_images are floats in 0 … 0.00392157, which"),
        ({"images": IMAGES, "validation_images": IMAGES[:, 1:]}, "validation_images are 4 × 7 × 3 but images are 5 ×"),
        ({"images": IMAGES, "validation_labels": np.arange(3)}, "has validation_labels but no validation_images"),
        ({"images": np.array([IMAGES, None], object)}, "images holds Python objects, not numbers"),
        ({"images": IMAGES[0, 0]}, "images have shape [7, 3]; must be [N, H, W, C] or [N, H, W]"),
        ({"images": IMAGES[None]}, "images have shape [1, 12, 5, 7, 3]; must be"),
        ({"images": IMAGES[:0]}, "images have shape [0, 5, 7, 3]: no images"),
        ({"images": IMAGES[:, :0]}, "images have shape [12, 0, 7, 3]: no images, or images without pixels"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, "images have shape [12, 3, 5, 7]: 1 … 4 channels can be used; chan"),
        ({"images": np.ones((2, 9, 9, 9), np.uint8)}, "images have shape [2, 9, 9, 9]: 1 … 4 channels can be used"),
        ({"images": with_value(np.nan)}, "images hold NaN"),
        ({"images": with_value(np.inf)}, "images lie in 0.5 … inf; floats must lie in [0, 1]"),
        ({"images": with_value(-1e-3)}, "images lie in -0.001 … 0.5; floats must lie in [0, 1]"),
        ({"images": with_value(254)}, "images lie in 0.5 … 254, it seems of 0 … 255; store uint8, or divide by 255"),
        ({"images": with_value(256, np.int32)}, "images lie in 0 … 256; integers must lie in 0 … 255"),
        ({"images": with_value(-1, np.int8)}, "images lie in -1 … 0; integers must lie in 0 … 255"),
        ({"images": with_value(1, np.uint8)}, "images are integers in 0 … 1, but integers are read as 0 … 255"),
        ({"images": IMAGES > 9}, "images are bool; must be uint8, or floats in [0, 1]"),
        ({"images": IMAGES.astype(complex)}, "images are complex128; must be uint8"),
        ({"images": IMAGES.astype(str)}, "images are <U3; must be uint8"),
        ({"images": IMAGES, "labels": np.arange(11)}, "labels are int64 [11]; must be integers [12], one"),
        ({"images": IMAGES, "labels": np.eye(12, dtype=int)}, "labels are int64 [12, 12]; must be integers [12]"),
        ({"images": IMAGES, "labels": np.arange(12.0)}, "labels are float64 [12]; must be integers [12]"),
        ({"images": IMAGES, "labels": np.arange(12) + 2**31}, "labels do not fit into 32 bits"),
        ({"images": IMAGES, "test_images": IMAGES[:, 1:]}, "test_images are 4 × 7 × 3 but images are 5 × 7 × 3"),
        ({"images": IMAGES, "test_images": IMAGES[:0]}, "test_images have shape [0, 5, 7, 3]: no images"),
        (
            {"images": IMAGES, "test_images": IMAGES, "test_labels": np.arange(3)},
            "test_labels are int64 [3]; must be integers [12], one for each of test_images",
        ),
        ({"images": IMAGES, "test_labels": np.arange(3)}, "has test_labels but no test_images"),
    ],
)
def test_what_cannot_be_used_is_one_line(arrays, expected, tmp_path):
    assert message(written(tmp_path, **arrays)).startswith(expected)


def test_files_that_are_no_npz_are_one_line(tmp_path):
    assert message(tmp_path / "nowhere.npz").startswith("no such file")
    assert message(tmp_path).startswith("not a file")
    for content in (b"", b"text", b"\x93NUMPY" + bytes(100)):
        (tmp_path / "other.npz").write_bytes(content)
        assert message(tmp_path / "other.npz").startswith("not an npz file, or cut short")
    with zipfile.ZipFile(tmp_path / "plain.npz", "w") as archive:
        archive.writestr("images", b"pixels")
    assert message(tmp_path / "plain.npz").startswith("images is not a NumPy array")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_short_anywhere_it_is_one_line(save, tmp_path):
    save(tmp_path / "whole.npz", images=IMAGES, labels=np.arange(12))
    whole = (tmp_path / "whole.npz").read_bytes()
    for length in range(0, len(whole), 61):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        assert "cut short" in message(tmp_path / "cut.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_changed_byte_is_one_line_or_harmless(save, tmp_path):
    save(tmp_path / "whole.npz", images=IMAGES)
    whole = (tmp_path / "whole.npz").read_bytes()
    refused = 0
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        (tmp_path / "changed.npz").write_bytes(changed)
        try:
            found = read_npz(tmp_path / "changed.npz").train.images
        except UserError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, IMAGES)
    assert refused > len(whole) / 7 / 2  # most bytes are pixels


def test_a_damaged_member_is_named(tmp_path):
    path = written(tmp_path, images=IMAGES)
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    assert message(path).startswith("images cannot be read, the file is damaged (Bad CRC-32")


def test_a_header_that_is_no_python_is_one_line(tmp_path):
    header = b"{'descr': ('r', '|u1')], 'shape': (2, 3, 4), }\n"
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert message(tmp_path / "odd.npz").startswith("images cannot be read, the file is damaged (")


def test_a_header_that_asks_for_too_much_memory_is_one_line(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**45, 28, 28, 1)}
    )
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    assert message(tmp_path / "huge.npz").startswith("images ")


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 3)])
@pytest.mark.parametrize("floats", [True, False])
def test_an_npy_holds_what_images_of_an_npz_may_be(shape, floats, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "own.npy", (levels / 255).astype(np.float32) if floats else levels)
    source = read_npy(tmp_path / "own.npy")
    np.testing.assert_array_equal(source.train.images, levels.reshape(6, 4, 5, -1))
    assert (source.name, source.provenance) == ("own", f"npy:{tmp_path / 'own.npy'}")
    assert (source.train.labels, source.test, source.remarks) == (None, None, ())
    assert len(load_dataset(f"npy:{tmp_path / 'own.npy'}", validation=0.4).validation) == 2


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 3)), "the images have shape [4, 3]; must be [N, H, W, C] or [N, H, W]"),
        (np.full((4, 3, 3), 2.0), "the images lie in 2 … 2, it seems of 0 … 255; store uint8, or divide by 255"),
        (np.array([{}, 1]), "holds Python objects, not numbers; store one array of equal images"),
        (b"no array", "not an npy file, or cut short; write it anew with np.save"),
        (b"\x93NUMPY\x01\x00", "cannot be read, the file is damaged ("),
        (None, "no such file; data.name takes npy:PATH; of a run that has begun, the new PATH"),
    ],
)
def test_an_npy_that_cannot_be_used_is_refused_in_one_line(array, message, tmp_path):
    path = tmp_path / "own.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(UserError) as refused:
        read_npy(path)
    assert str(refused.value).startswith(f"npy:{path}: {message}")


def test_an_npz_that_is_called_an_npy_is_known(tmp_path):
    np.savez(tmp_path / "own.npz", images=np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(UserError, match=r"write it anew with np\.save; it is an npz: name it npz:PATH$"):
        read_npy(tmp_path / "own.npz")
