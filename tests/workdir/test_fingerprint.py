"""The fingerprint of parameters: one for the same bits, another for any other."""

import hashlib

import jax
import numpy as np
import pytest

from mtvae_jax.workdir.fingerprint import fingerprint

TREE = {"decoder": {"bias": np.zeros(2, np.float32)}, "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}


def test_is_the_hash_that_its_docstring_describes():
    text = b"['a']['kernel'] float32 (2, 3)\n" + bytes.fromhex("000000000000803f0000004000004040000080400000a040")
    text += b"['decoder']['bias'] float32 (2,)\n" + bytes(8)
    assert fingerprint(TREE) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(TREE.items())),
        jax.device_put(TREE),
        jax.tree.map(lambda leaf: leaf.astype(">f4"), TREE),
        jax.tree.map(np.asfortranarray, TREE),
    ],
    ids=["another order", "on a device", "big-endian", "column by column"],
)
def test_does_not_depend_on_where_the_bits_lie(same):
    assert fingerprint(same) == fingerprint(TREE)


@pytest.mark.parametrize(
    "other",
    [
        TREE | {"decoder": {"bias": np.array([0, np.finfo(np.float32).smallest_subnormal], np.float32)}},
        TREE | {"decoder": {"bias": np.array([0, -0.0], np.float32)}},
        TREE | {"decoder": {"bias": np.zeros((2, 1), np.float32)}},
        TREE | {"decoder": {"bias": np.zeros(2, np.int32)}},
        TREE | {"decoder": {"scale": np.zeros(2, np.float32)}},
        {"a": TREE["a"]},
    ],
    ids=["one bit", "the sign of a zero", "shape", "type", "name", "a leaf less"],
)
def test_differs_where_anything_differs(other):
    assert fingerprint(other) != fingerprint(TREE)
