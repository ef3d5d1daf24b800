"""Lets tensorflow-datasets prepare image datasets where TensorFlow is not installed.

To prepare MNIST, Fashion-MNIST, CIFAR-10 and CelebA, tensorflow-datasets asks three things of TensorFlow: to open
local files, to encode PNG images, and, in the middle of CelebA, to read on from a zip archive whose `with` block is
over (a GFile opens itself again). Python and Pillow do all three. This reaches into private names of
tensorflow-datasets, so it holds only for the releases that it was tried with.
"""

import contextlib
import importlib.util
import io
import re
import sys
import zipfile
from types import SimpleNamespace

from mtvae_jax.errors import UserError

FIRST_TRIED, FIRST_UNTRIED = (4, 9, 10), (4, 10, 0)

_PYTHON_FILES = SimpleNamespace(
    io=SimpleNamespace(gfile=SimpleNamespace(GFile=open)),
    compat=SimpleNamespace(as_text=str),
)


def tensorflow_is_installed():
    """Tells whether TensorFlow could be imported; it is not imported to find out."""
    return importlib.util.find_spec("tensorflow") is not None


@contextlib.contextmanager
def without_tensorflow(builder):
    """Makes a context in which `builder.download_and_prepare()` needs no TensorFlow; afterwards all is as it was.

    **Arguments:** `builder`: of mnist, fashion_mnist, cifar10 or celeb_a.
    **Raises:** `UserError` where tensorflow-datasets is not of a release that this was tried with.
    """
    import tensorflow_datasets
    from tensorflow_datasets.core.download import extractor, resource
    from tensorflow_datasets.core.features import image_feature

    _check_release(tensorflow_datasets.__version__)
    own_module = sys.modules[type(builder).__module__]
    zip_members = {**extractor._EXTRACT_METHODS, resource.ExtractMethod.ZIP: _zip_members}
    with contextlib.ExitStack() as restored_on_exit:
        for owner, name, value in (
            (extractor, "tf", _PYTHON_FILES),
            (extractor, "_EXTRACT_METHODS", zip_members),
            (image_feature._ImageEncoder, "_encode_image", _encode_png),
            *([(own_module, "tf", _PYTHON_FILES)] if hasattr(own_module, "tf") else []),
        ):
            restored_on_exit.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


def _check_release(version):
    release = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if not FIRST_TRIED <= release < FIRST_UNTRIED:
        raise UserError(
            f"tensorflow-datasets {version} cannot prepare data here without TensorFlow; "
            "pip install 'tensorflow-datasets>=4.9.10,<4.10', or tensorflow"
        )


def _encode_png(encoder, image):
    """Takes the place of `_ImageEncoder._encode_image`: uint8 [H, W, C] -> bytes."""
    from PIL import Image

    if encoder.encoding_format != "png":
        raise NotImplementedError(f"only PNG images are encoded without TensorFlow, not {encoder.encoding_format}")
    buffer = io.BytesIO()
    grey_or_colour = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    grey_or_colour.save(buffer, "PNG", compress_level=1)  # read once: speed before size
    return buffer.getvalue()


def _zip_members(path):
    """Yields (name, object with read()) of each file in a zip archive, which stays open while one of them is held.

    Reading only when asked keeps the 1.4 GB of CelebA out of memory. Names are not made safe for extraction.
    """
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        if not info.is_dir():
            yield info.filename, _ZipMember(archive, info)


class _ZipMember:
    __slots__ = ("archive", "info")

    def __init__(self, archive, info):
        self.archive = archive
        self.info = info

    def read(self):
        return self.archive.read(self.info)
