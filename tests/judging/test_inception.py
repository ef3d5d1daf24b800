"""InceptionV3 against torchvision's, by features that it computed."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtvae_jax.errors import UserError
from mtvae_jax.judging import image_features
from mtvae_jax.judging.image_features import inception_feature_extractor
from mtvae_jax.judging.inception import NUM_FEATURES, InceptionV3, load_inception

# Features that torchvision 0.28 computed in float64 from the weights and images below: every 256th of either image, and
# the mean and standard deviation of all.
TORCHVISION_FEATURES = [
    [18.55891269, 0.67724739, 0.0224663, 0.51944896, 13.70060441, 12.39461275, 0, 1.76890699],
    [18.10681983, 0.61837562, 0, 0.50606397, 13.30099779, 12.43345008, 0, 1.77597828],
]
TORCHVISION_MEAN, TORCHVISION_STD = 7.709529680803324, 10.452425418118294


def random_entry(name, shape):
    """An entry of the state dictionary, which depends on its name alone; activations keep their scale."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("conv.weight"):
        return random.normal(size=shape).astype(np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    low, high = (0.5, 1.5) if name.endswith(("bn.weight", "bn.running_var")) else (-0.3, 0.3)
    return random.uniform(low, high, shape).astype(np.float32)


def random_state_dict():
    shapes = jax.eval_shape(InceptionV3().init, jax.random.key(0), jnp.zeros((1, 299, 299, 3)))["params"]
    state = {}
    for key, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        *layer, kind = (entry.key for entry in key)
        if kind == "kernel":
            rows, columns, channels, features = leaf.shape
            names = {"conv.weight": (features, channels, rows, columns)}
            names |= {f"bn.{name}": (features,) for name in ("weight", "bias", "running_mean", "running_var")}
            for name, shape in names.items():
                name = f"{'.'.join(layer)}.{name}"
                state[name] = random_entry(name, shape)
    return state


def random_images():
    return np.random.default_rng(0).uniform(size=(2, 299, 299, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def state_dict():
    return random_state_dict()


@pytest.fixture(scope="module")
def path(state_dict, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.npz"
    np.savez(path, **state_dict)
    return path


@pytest.fixture(scope="module")
def inception(path):
    variables, apply = load_inception(path), jax.jit(InceptionV3().apply)
    return lambda images: np.asarray(apply(variables, images))


@pytest.fixture(scope="module")
def features(inception):
    return inception(random_images())


def test_features_are_those_that_torchvision_computed(features):
    assert features.shape == (2, NUM_FEATURES)
    np.testing.assert_allclose(features[:, ::256], TORCHVISION_FEATURES, atol=2e-4)
    np.testing.assert_allclose([features.mean(), features.std()], [TORCHVISION_MEAN, TORCHVISION_STD], rtol=1e-5)


def test_images_are_resized_and_grey_ones_repeated(inception):
    """Bilinearly, pixels having their values at their centres."""
    grey = np.random.default_rng(0).uniform(size=(2, 28, 20, 1)).astype(np.float32)

    def resize(values, axis):
        size = values.shape[axis]
        centres = (np.arange(299) + 0.5) * size / 299 - 0.5
        return np.apply_along_axis(lambda line: np.interp(centres, np.arange(size), line), axis, values)

    resized = resize(resize(grey, 1), 2).astype(np.float32)
    np.testing.assert_allclose(inception(grey), inception(np.repeat(resized, 3, axis=-1)), atol=1e-3)


def test_large_images_are_resized_without_aliasing(inception):
    """A checkerboard of pixels becomes an even grey when it is made smaller."""
    board = np.indices((897, 897)).sum(axis=0)[None, ..., None] % 2
    even = np.full((1, 299, 299, 3), 0.5, np.float32)
    # But not at the edges, where the filter is cut off.
    difference = np.abs(inception(board.astype(np.float32)) - inception(even))
    assert difference.mean() < 0.05 * np.abs(inception(even)).mean()


def test_images_of_neither_one_nor_three_channels_are_refused():
    with pytest.raises(ValueError, match=r"\[B, H, W, 1\] or \[B, H, W, 3\]"):
        InceptionV3().init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))


def test_the_extractor_describes_any_number_of_images_of_any_size(path, inception, monkeypatch):
    monkeypatch.setattr(image_features, "_INCEPTION_BATCH", 2)
    extractor = inception_feature_extractor(path)
    assert "InceptionV3, inception.npz" in extractor.description
    assert extractor.accuracy is None
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 1), np.uint8)
    np.testing.assert_allclose(extractor(images)[1:], inception(images[1:] / np.float32(255)), atol=1e-3)


def test_a_file_that_cannot_be_used_is_one_line(state_dict, tmp_path):
    name = "Mixed_6c.branch7x7_2.conv.weight"
    damaged = {
        "missing": {key: value for key, value in state_dict.items() if key != name},
        "shape": state_dict | {name: state_dict[name].transpose(2, 3, 1, 0)},
        "nan": state_dict | {name: np.full_like(state_dict[name], np.nan)},
        "integers": state_dict | {name: np.ones(state_dict[name].shape, int)},
    }
    expected = {
        "missing": f"has no array {name}",
        "shape": f"{name} is [1, 7, 160, 160], must be [160, 160, 1, 7]",
        "nan": f"{name} is not all finite floats",
        "integers": f"{name} is not all finite floats",
        "empty": "cannot be read as an npz",
        "text": "cannot be read as an npz",
        "absent": "no such file",
    }
    for kind, message in expected.items():
        path = tmp_path / f"{kind}.npz"
        if kind in damaged:
            np.savez(path, **damaged[kind])
        elif kind != "absent":
            path.write_bytes(b"words" if kind == "text" else b"")
        with pytest.raises(UserError) as caught:
            load_inception(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)
        assert "np.savez" in str(caught.value)
        assert "\n" not in str(caught.value)
