"""A dataset as the rest of the package knows it: three splits of uint8 images."""

import dataclasses
import hashlib

import numpy as np

HASHED_AT_ONCE = 1 << 26  # bytes: arrays may be larger than memory would like to hold twice


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images at rest, split for training, validation and test. The arrays are read-only.

    **Attributes:** `name`: for file and folder names, such as "mnist", or "faces" for `npz:…/faces.npz`;
    `train`, `validation`, `test`: uint8 [N, H, W, C]; `train_labels`, `validation_labels`, `test_labels`: int32 [N]
    or None; `fingerprint`: 16 hexadecimal digits of the SHA-256 of all six arrays, so that equal data split equally
    have equal fingerprints; `provenance`: one line that says where the data came from; `remarks`: sentences about what
    is odd about these images, see `mtvae_jax.data.remarks`; `found`: lines about what the images were made from, and
    what the labels mean. With `data.validation=0` `validation` is `test` itself.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    validation_labels: np.ndarray | None
    test_labels: np.ndarray | None
    fingerprint: str
    provenance: str
    remarks: tuple = ()
    found: tuple = ()

    @property
    def image_shape(self):
        """(H, W, C) of every image."""
        return self.train.shape[1:]


def fingerprint(arrays):
    """Returns the first 16 hexadecimal digits of the SHA-256 over dtype, shape and bytes of each array, in order.

    **Arguments:** `arrays`: iterable of arrays; None stands for an array that is not there.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"absent" if array is None else f"{array.dtype.str} {array.shape}".encode())
        if array is not None:
            hash_into(digest, array)
    return digest.hexdigest()[:16]


def hash_into(digest, array):
    """Feeds the elements of `array`, in C order, to a `hashlib` digest."""
    rows = max(1, HASHED_AT_ONCE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        digest.update(np.ascontiguousarray(array[start : start + rows]).data)
