"""One copy of an array on every local device, and back."""

import jax
import numpy as np

from mtvae_jax.models.layers import BATCH_AXIS


def _sharding():
    # pmap compiles a second time for arguments that do not lie on its own mesh, with its own axis name.
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (BATCH_AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(BATCH_AXIS))


def replicate(tree):
    """Leaves [...] → [devices, ...], the same on every local device."""
    devices = jax.local_device_count()

    def copies(leaf):
        leaf = np.asarray(leaf)
        return np.broadcast_to(leaf[None], (devices, *leaf.shape))

    return jax.device_put(jax.tree.map(copies, tree), _sharding())


def shard(tree):
    """Leaves [devices, ...] → the same, row i on local device i."""
    return jax.device_put(tree, _sharding())


def first_replica(tree):
    """Leaves [devices, ...] of equal rows → host arrays [...]."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)
