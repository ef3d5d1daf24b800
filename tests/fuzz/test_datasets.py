"""Whatever `data` names, it is refused in one line that names it, or it is images that can be trained on."""

import io
import os
import zipfile

import numpy as np
import pytest
from fuzz.values import TEXTS, anything, in_two_lengths, near, refused
from hypothesis import strategies as st

from mtvae_jax.data import load_dataset
from mtvae_jax.data.loading import DATASETS

KEYS = ("images", "labels", "test_images", "test_labels", "image", "Images", "x_train", "arr_0", "images.npy", "")
SIDES = st.sampled_from((0, 1, 1, 2, 3, 4, 5, 28))
DTYPES = st.one_of(
    st.sampled_from((np.uint8, np.float32, np.float64, np.float16, np.int64, np.bool_, ">u2", ">f4", np.longdouble)),
    st.sampled_from(("U3", "S2", "M8[s]", "m8", complex, object, [("r", "u1")], "V3", "(2,)u1")),
)


class Intruder:
    """Unpickling it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("intruded",)


@st.composite
def arrays(draw, like=None):
    """An array that is nearly a batch of images, or anything else."""
    shape = draw(st.one_of(
        st.tuples(st.sampled_from((0, 1, 2, 3, 12, 30)), SIDES, SIDES, st.sampled_from((0, 1, 3, 4, 5))),
        st.tuples(st.sampled_from((1, 2, 30)), SIDES, SIDES),
        st.just((30, 4, 5, 1)),
        st.lists(SIDES, max_size=6).map(tuple),
    ))  # fmt: skip
    values = draw(st.sampled_from(("levels", "shares", "one", "nan", "inf", "negative", "large", "zeros", "objects")))
    if values == "objects":
        return np.full(shape, None, object)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    found = rng.integers(0, 256, shape) if values == "levels" else rng.random(shape)
    odd = {"nan": np.nan, "inf": np.inf, "negative": -1e-3, "large": 300.0, "one": 1.0}.get(values)
    if found.size and odd is not None:
        found = found.astype(float)
        found.flat[draw(st.integers(0, found.size - 1))] = odd
    if values == "zeros":
        found = np.zeros(shape)
    dtype = np.uint8 if values == "levels" and draw(st.booleans()) else draw(DTYPES)
    try:
        with np.errstate(all="ignore"):
            found = found.astype(dtype)
    except (TypeError, ValueError):
        found = np.zeros(shape, dtype)
    return np.asfortranarray(found) if draw(st.booleans()) else found


@st.composite
def labels(draw, count):
    shape = draw(st.sampled_from(((count,), (count,), (count + 1,), (count, 1), (), (0,))))
    fill = draw(st.sampled_from((0, 3, -1, 2**31 - 1, 2**31, 2**62, 0.5, np.nan)))
    dtype = draw(st.sampled_from((np.int64, np.uint8, np.int32, np.float32, np.uint64, np.bool_, "U3", object)))
    with np.errstate(all="ignore"):
        try:
            return np.full(shape, fill).astype(dtype)
        except (OverflowError, ValueError):
            return np.zeros(shape, dtype)


@st.composite
def archives(draw):
    """The bytes of a file that is nearly an npz."""
    found = {"images": draw(arrays())}
    if draw(st.booleans()):
        found["labels"] = draw(labels(len(found["images"]) if found["images"].ndim else 0))
    if draw(st.booleans()):
        found["test_images"] = draw(st.one_of(st.just(found["images"][:1] if found["images"].ndim else 0), arrays()))
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True)):
        found[key] = draw(arrays())
    if draw(st.integers(0, 9)) == 0:
        del found["images"]
    file = io.BytesIO()
    members = {name + draw(st.sampled_from((".npy",) * 9 + ("",))): array for name, array in found.items()}
    with zipfile.ZipFile(file, "w", draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))) as archive:
        for name, array in members.items():
            with archive.open(name, "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=True)
    content = bytearray(file.getvalue())
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 3)))):
        # Of fixed range, because the padding of long doubles, which is what was in memory, packs into other lengths
        content[draw(st.integers(0, 2**20)) % len(content)] ^= draw(st.integers(1, 255))
    return bytes(content[: draw(st.sampled_from((len(content),) * 4 + (len(content) // 2, 4, 0)))])


def refused_or_images(name, mentions, **arguments):
    found, message = refused(lambda: load_dataset(name, **arguments))
    if found is None:
        assert any(word in message for word in mentions), message
        return
    for split in ("train", "validation", "test"):
        images, marks = getattr(found, split), getattr(found, f"{split}_labels")
        assert images.dtype == np.uint8
        assert images.ndim == 4
        assert images.size
        assert images.shape[1:] == found.image_shape
        assert marks is None or (marks.dtype == np.int32 and marks.shape == images.shape[:1])


def a_file(content, arguments, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    (folder / "fuzzed.npz").write_bytes(content)
    refused_or_images(f"npz:{folder / 'fuzzed.npz'}", ["npz:", "data.validation"], **arguments)


test_a_file_is_refused_or_images, test_a_file_is_refused_or_images_at_length = in_two_lengths(
    a_file,
    short=200,
    long=4000,
    content=archives(),
    arguments=st.sampled_from(({}, {"validation": 0}, {"fold": 0, "num_folds": 3}, {"max_train": 1})),
)

SPLITTING = {"validation": 0.1, "fold": 0, "num_folds": 2, "max_train": 5, "directory": "nowhere"}


def a_call(name, arguments):
    refused_or_images(name, ["data.", "npz:", "mnist_sample"], **arguments)


# mnist and its like are downloaded where there is a network: tests/data/test_prepared.py has them.
NAMES = st.one_of(
    st.just("mnist_sample"),
    st.sampled_from(TEXTS),
    anything.filter(lambda value: not isinstance(value, str) or value not in DATASETS),
    st.text(max_size=30).filter(lambda name: name not in DATASETS),
    st.text(max_size=300).map("npz:{}".format),
    st.sampled_from(("kmnist", "imagenet2012", "MNIST", "mnist:3.0.1", "mnist/plain", "mnist.npz", "npz:" + "x" * 300)),
)

test_arguments_are_refused_or_images, test_arguments_are_refused_or_images_at_length = in_two_lengths(
    a_call,
    short=120,
    long=3000,
    name=NAMES,
    arguments=st.fixed_dictionaries(
        {}, optional={name: st.one_of(near(value), anything) for name, value in SPLITTING.items()}
    ),
)


@pytest.mark.parametrize("key", ["images", "labels", "test_images", "test_labels", "unused"])
def test_no_pickle_is_read_whichever_array_it_is(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.zeros((30, 4, 4), np.uint8)
    stored = {"images": images, "test_images": images} | {key: np.full(30, Intruder(), object)}
    np.savez(tmp_path / "own.npz", **stored)
    refused_or_images(f"npz:{tmp_path / 'own.npz'}", ["Python objects"])
    assert not (tmp_path / "intruded").exists()
