"""From the bytes of a PNG or JPEG file to uint8 pixels.

Pillow decodes, whatever else is installed: another JPEG decoder may differ in the last bit, and data must not.
"""

import io

import numpy as np

FACE_SIDE = 64


def decode(encoded):
    """**Arguments:** `encoded`: bytes of an image file. **Returns:** uint8 [H, W, C], C = 1 for grey images."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def decode_face(encoded):
    """Cuts a CelebA photograph, 218 × 178, to its central square and resizes it to 64 × 64 (bilinear, antialiased).

    **Arguments:** `encoded`: bytes of a JPEG file. **Returns:** uint8 [64, 64, 3].
    """
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        # Not resize(box=…): near its edges that looks at pixels outside the box.
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        face = square.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(face)
