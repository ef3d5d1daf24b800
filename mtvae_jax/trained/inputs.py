"""What users give a trained model, checked: one line says what is wrong with it and how to mend it."""

import numbers

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.errors import UserError, first_line, warn

_MOST_DRAWS = 2**24


def as_images(images, image_shape):
    """Returns images [N, *image_shape], uint8 or floats in [0, 1], as float32.

    **Raises:** `UserError` for anything else.
    """
    images = as_array("images", images)
    if images.shape[1:] != image_shape or images.ndim != 4 or len(images) == 0:
        shape = ", ".join(map(str, image_shape))
        raise UserError(f"images: have shape {images.shape}, must be (N, {shape}) with N at least 1")
    if images.dtype == np.uint8:
        return _not_black(images.astype(np.float32) / 255.0)
    floats = jnp.issubdtype(images.dtype, np.floating)  # bfloat16 is one to JAX alone
    if floats and np.isnan(images).any():
        raise UserError(
            "images: hold NaN; must be uint8, or floats in [0, 1]; where pixels are not known, sample with images "
            "and a mask looks at the revealed ones alone"
        )
    if not floats or images.min() < 0 or images.max() > 1:
        raise UserError("images: must be uint8, or floats in [0, 1]")
    return _not_black(images.astype(np.float32))


def check_count(name, value):
    """Raises `UserError` unless it is an integer of at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not 1 <= value <= _MOST_DRAWS:
        raise UserError(f"{name} = {value!r}: must be an integer of at least 1, and at most {_MOST_DRAWS:,}")


def check_key(key):
    """Raises `UserError` unless it is one typed key, or None."""
    # Of old-style keys, uint32 [2], one and a batch look alike.
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key is not None and not (typed and key.ndim == 0):
        raise UserError(f"key = {key!r}: must be one typed key, such as jax.random.key(0)")


def _not_black(images):
    """The images, with a warning where none of their pixels is brighter than the first level above black."""
    if 0 < images.max() <= 1.001 / 255:
        warn(
            "images: no pixel is brighter than 1/255, so the model sees black; integers are read as 0 … 255 and floats "
            "as 0 … 1: multiply integers of 0 and 1, or floats divided by 255 twice, by 255",
        )
    return images


def without_hidden(images, mask):
    """Returns the images, with black for whatever a user's floats have at hidden pixels: NaN, or a number for "not
    known".
    """
    images, mask = as_array("images", images), as_array("mask", mask)
    each = (*images.shape[:3], 1)
    if mask.shape not in (each, each[1:]) or not jnp.issubdtype(images.dtype, np.floating):
        return images
    return np.where(mask == 0, np.zeros((), images.dtype), images)


def as_array(name, values):
    """Returns a NumPy array of what was given as `name`. **Raises:** `UserError` where it can be none."""
    try:
        return np.asarray(values)
    except Exception as error:  # whatever the object that was given raises
        raise UserError(f"{name}: cannot be made a NumPy array ({first_line(error)})") from error
