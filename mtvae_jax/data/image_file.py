"""One image file of a user's: what is in it, and its pixels, as training wants them. Pillow decodes.

Any mode becomes 8 bits of grey or RGB: 16 bits are scaled, floats of 0 … 1 too; transparent pixels show the background;
the orientation that EXIF tells is applied. Of several frames the first is read.
"""

import contextlib
import math
import warnings

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
NOT_READ = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".arw")
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_MOST_16_BIT = 65535
_ORIENTATION = 0x0112  # the tag of EXIF


def colour(text):
    """Returns (R, G, B) of a colour as CSS writes it: "white", "#808080". **Raises:** `ValueError`."""
    from PIL import ImageColor

    return ImageColor.getrgb(text)[:3]


def examine(path, background):
    """Looks at the head of a file.

    **Arguments:** `path`; `background`: (R, G, B). **Returns:** height, width, as it is shown; whether it is grey: by
    its mode, not by its pixels. **Raises:** whatever Pillow does.
    """
    with _opened(path) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # lies on its side
            width, height = height, width
        return height, width, _is_grey(image, background)


def pixels(path, size, crop, background, channels):
    """Decodes a file.

    **Arguments:** `path`; `size`: (H, W), or None for its own; `crop`: "center" cuts the largest central piece of the
    sides' ratio before it is resized, "none" does not; `background`: (R, G, B); `channels`: 1 or 3.
    **Returns:** uint8 [H, W, C]. Resized bilinearly, antialiased.
    **Raises:** whatever Pillow does; `ValueError` for numbers of no known range.
    """
    from PIL import Image

    ways = Image.Transpose
    shown = {2: ways.FLIP_LEFT_RIGHT, 3: ways.ROTATE_180, 4: ways.FLIP_TOP_BOTTOM, 5: ways.TRANSPOSE,
             6: ways.ROTATE_270, 7: ways.TRANSVERSE, 8: ways.ROTATE_90}  # fmt: skip
    with _opened(path) as image:
        orientation = _orientation(image)
        if size is not None:
            _decode_coarsely(image, size if orientation < 5 else size[::-1], crop)
        image.load()
        if orientation in shown:
            image = image.transpose(shown[orientation])
        image = _eight_bits(image, background).convert("L" if channels == 1 else "RGB")
        if size is not None:
            image = _fitted(image, size, crop)
        return np.asarray(image).reshape(image.height, image.width, channels)


@contextlib.contextmanager
def _opened(path):
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, odd tags
        with Image.open(path, formats=_FORMATS) as image:
            yield image


def _orientation(image):
    """1 … 8, as EXIF has it. A TIFF is turned by Pillow; of a PNG what stands before the pixels counts, for to look for
    more is to decode it."""
    from PIL import Image

    return 1 if image.format == "TIFF" else Image.Image.getexif(image).get(_ORIENTATION, 1)


def _is_grey(image, background):
    if image.has_transparency_data and len(set(background)) > 1:
        return False
    if image.mode == "P":
        red, green, blue = np.reshape(image.getpalette("RGB"), (-1, 3)).T
        return bool((red == green).all() and (green == blue).all())
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def _decode_coarsely(image, size, crop):
    """Lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size where that is twice what is needed at least."""
    height, width = size
    by_height, by_width = image.height / height, image.width / width
    if crop == "center":
        by_height = by_width = min(by_height, by_width)
    if min(by_height, by_width) >= 4:
        image.draft(image.mode, (math.ceil(2 * image.width / by_width), math.ceil(2 * image.height / by_height)))


def _eight_bits(image, background):
    """The image in mode L or RGB, or in one that becomes RGB by `convert`."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scaled(np.asarray(image)))
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")


def _scaled(values):
    """uint8 levels of 16-bit integers, or of floats in [0, 1]."""
    most, what = (1, "floats of 0 … 1") if values.dtype.kind == "f" else (_MOST_16_BIT, "integers of 16 bits")
    if not (values.min() >= 0 and values.max() <= most):  # NaN, too
        raise ValueError(f"holds {values.min():g} … {values.max():g}, and no {what}")
    return np.rint(values.astype(np.float64) * (255 / most)).astype(np.uint8)


def _fitted(image, size, crop):
    from PIL import Image

    height, width = size
    if crop == "center":
        scale = min(image.height / height, image.width / width)
        high, wide = max(1, round(height * scale)), max(1, round(width * scale))
        left, top = (image.width - wide) // 2, (image.height - high) // 2
        # Not resize(box=…): near its edges that looks at pixels outside the box.
        image = image.crop((left, top, left + wide, top + high))
    return image.resize((width, height), Image.Resampling.BILINEAR)
