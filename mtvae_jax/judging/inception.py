"""InceptionV3 (Szegedy et al. 2016) up to its last pooling, whose features the FID is computed from.

The network is torchvision's, with the weights of its state dictionary. Published FIDs (Heusel et al. 2017) come from
another InceptionV3, of TensorFlow: trained apart, for 1008 classes, with average pools that leave out the padding and a
maximum pool in the last block, on images resized without a filter against aliasing. Figures from the two cannot be
compared.
"""

import zipfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.errors import UserError
from mtvae_jax.ops.convolution import conv2d

NUM_FEATURES = 2048
CHANNELS = (1, 3)  # grey and RGB
_SIDE = 299  # pixels, of the images that the network was trained on
_EPSILON = 1e-3  # of its batch normalisation
_RECIPE = "write it with np.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()}) of torchvision's model"


def load_inception(path):
    """Reads the weights of torchvision's `inception_v3` from an npz with one array an entry of its state dictionary.

        model = torchvision.models.inception_v3(weights="IMAGENET1K_V1")
        np.savez(path, **{name: value.numpy() for name, value in model.state_dict().items()})

    Batch normalisation, which is linear once training is over, becomes part of the convolutions. Arrays of the
    classifier and of the auxiliary one are not read and may be missing. The network sees 2 x − 1, as torchvision's does
    with its `transform_input`.

    **Arguments:** `path`: of the file. **Returns:** variables of `InceptionV3`, float32.
    **Raises:** `UserError` for a file that cannot be read, an array that is missing, has another shape, or is not
    finite.
    """
    path = Path(path).expanduser()
    image = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
    expected = jax.eval_shape(InceptionV3().init, jax.random.key(0), image)["params"]
    try:
        with np.load(path, allow_pickle=False) as file:
            return {"params": _fold_all(path, file, expected)}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {_RECIPE}") from error
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path}: cannot be read as an npz ({reason}); {_RECIPE}") from error


class InceptionV3(nn.Module):
    """The network from images of any size to the features of its last pooling.

    Layers have torchvision's names, and each is a convolution with a bias, in which its batch normalisation is
    contained, and a ReLU.
    """

    @nn.compact
    def __call__(self, images):
        """Describes images, float [B, H, W, 1 or 3] in [0, 1], by float [B, 2048]."""
        batch, channels = len(images), images.shape[-1]
        if channels not in CHANNELS:
            raise ValueError(f"images {images.shape}: InceptionV3 takes grey or RGB ones, [B, H, W, 1] or [B, H, W, 3]")
        x = jax.image.resize(images, (batch, _SIDE, _SIDE, channels), "bilinear")  # antialiased
        x = 2 * jnp.broadcast_to(x, (batch, _SIDE, _SIDE, 3)) - 1
        x = _Conv(32, 3, stride=2, padding="VALID", name="Conv2d_1a_3x3")(x)
        x = _Conv(32, 3, padding="VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, 3, name="Conv2d_2b_3x3")(x)
        x = _max_pool(x)
        x = _Conv(80, name="Conv2d_3b_1x1")(x)
        x = _Conv(192, 3, padding="VALID", name="Conv2d_4a_3x3")(x)
        x = _max_pool(x)  # [B, 35, 35, 192]
        x = _InceptionA(32, name="Mixed_5b")(x)
        x = _InceptionA(64, name="Mixed_5c")(x)
        x = _InceptionA(64, name="Mixed_5d")(x)
        x = _InceptionB(name="Mixed_6a")(x)  # [B, 17, 17, 768]
        x = _InceptionC(128, name="Mixed_6b")(x)
        x = _InceptionC(160, name="Mixed_6c")(x)
        x = _InceptionC(160, name="Mixed_6d")(x)
        x = _InceptionC(192, name="Mixed_6e")(x)
        x = _InceptionD(name="Mixed_7a")(x)  # [B, 8, 8, 1280]
        x = _InceptionE(name="Mixed_7b")(x)
        x = _InceptionE(name="Mixed_7c")(x)  # [B, 8, 8, 2048]
        return jnp.mean(x, axis=(1, 2))


class _Conv(nn.Module):
    features: int
    kernel_size: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x):
        rows, columns = np.broadcast_to(self.kernel_size, 2).tolist()
        kernel = self.param("kernel", nn.initializers.he_normal(), (rows, columns, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        # XLA's own on CPUs too: outside of loops, forward, it is as fast, and compiles in a fifth of the time.
        x = conv2d(x, kernel, stride=self.stride, padding=self.padding, implementation="lax")
        return nn.relu(x + bias)


class _InceptionA(nn.Module):
    pool_features: int

    @nn.compact
    def __call__(self, x):
        one = _Conv(64, name="branch1x1")(x)
        five = _Conv(48, name="branch5x5_1")(x)
        five = _Conv(64, 5, name="branch5x5_2")(five)
        three = _Conv(64, name="branch3x3dbl_1")(x)
        three = _Conv(96, 3, name="branch3x3dbl_2")(three)
        three = _Conv(96, 3, name="branch3x3dbl_3")(three)
        pool = _Conv(self.pool_features, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([one, five, three, pool], axis=-1)


class _InceptionB(nn.Module):
    @nn.compact
    def __call__(self, x):
        one = _Conv(384, 3, stride=2, padding="VALID", name="branch3x3")(x)
        two = _Conv(64, name="branch3x3dbl_1")(x)
        two = _Conv(96, 3, name="branch3x3dbl_2")(two)
        two = _Conv(96, 3, stride=2, padding="VALID", name="branch3x3dbl_3")(two)
        return jnp.concatenate([one, two, _max_pool(x)], axis=-1)


class _InceptionC(nn.Module):
    inner: int

    @nn.compact
    def __call__(self, x):
        one = _Conv(192, name="branch1x1")(x)
        seven = _Conv(self.inner, name="branch7x7_1")(x)
        seven = _Conv(self.inner, (1, 7), name="branch7x7_2")(seven)
        seven = _Conv(192, (7, 1), name="branch7x7_3")(seven)
        twice = _Conv(self.inner, name="branch7x7dbl_1")(x)
        twice = _Conv(self.inner, (7, 1), name="branch7x7dbl_2")(twice)
        twice = _Conv(self.inner, (1, 7), name="branch7x7dbl_3")(twice)
        twice = _Conv(self.inner, (7, 1), name="branch7x7dbl_4")(twice)
        twice = _Conv(192, (1, 7), name="branch7x7dbl_5")(twice)
        pool = _Conv(192, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([one, seven, twice, pool], axis=-1)


class _InceptionD(nn.Module):
    @nn.compact
    def __call__(self, x):
        three = _Conv(192, name="branch3x3_1")(x)
        three = _Conv(320, 3, stride=2, padding="VALID", name="branch3x3_2")(three)
        seven = _Conv(192, name="branch7x7x3_1")(x)
        seven = _Conv(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = _Conv(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = _Conv(192, 3, stride=2, padding="VALID", name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, _max_pool(x)], axis=-1)


class _InceptionE(nn.Module):
    @nn.compact
    def __call__(self, x):
        one = _Conv(320, name="branch1x1")(x)
        three = _Conv(384, name="branch3x3_1")(x)
        three_a = _Conv(384, (1, 3), name="branch3x3_2a")(three)
        three_b = _Conv(384, (3, 1), name="branch3x3_2b")(three)
        twice = _Conv(448, name="branch3x3dbl_1")(x)
        twice = _Conv(384, 3, name="branch3x3dbl_2")(twice)
        twice_a = _Conv(384, (1, 3), name="branch3x3dbl_3a")(twice)
        twice_b = _Conv(384, (3, 1), name="branch3x3dbl_3b")(twice)
        pool = _Conv(192, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([one, three_a, three_b, twice_a, twice_b, pool], axis=-1)


def _max_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _average_pool(x):
    """Over 3 × 3 pixels, those beyond the edge counted as zeros."""
    return nn.avg_pool(x, (3, 3), padding="SAME")


def _fold_all(path, arrays, expected, prefix=""):
    """The tree of `expected`, a tree of shapes, out of the state dictionary."""
    if "kernel" in expected:
        return _fold(path, arrays, prefix, expected["kernel"].shape)
    return {
        name: _fold_all(path, arrays, inner, f"{prefix}.{name}" if prefix else name) for name, inner in expected.items()
    }


def _fold(path, arrays, layer, shape):
    """A convolution and the batch normalisation behind it as one kernel [kh, kw, C, D] and bias [D]."""

    def read(name, shape):
        name = f"{layer}.{name}"
        if name not in arrays:
            raise UserError(f"{path}: has no array {name}; {_RECIPE}")
        array = arrays[name]
        if array.shape != shape:
            raise UserError(f"{path}: {name} is {list(array.shape)}, must be {list(shape)}; {_RECIPE}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(f"{path}: {name} is not all finite floats; {_RECIPE}")
        return array.astype(np.float64)

    rows, columns, channels, features = shape
    weight = read("conv.weight", (features, channels, rows, columns))
    scale, shift, mean, variance = (
        read(f"bn.{name}", (features,)) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + _EPSILON)
    kernel = weight.transpose(2, 3, 1, 0) * scale
    return {"kernel": kernel.astype(np.float32), "bias": (shift - mean * scale).astype(np.float32)}
