"""One copy of an array on every device, and back. Of many processes each places what lies on its own devices."""

import jax
import numpy as np

from mtvae_jax.models.layers import BATCH_AXIS


def _sharding():
    # pmap compiles a second time for arguments that do not lie on its own mesh, in its own order, with its axis' name.
    devices = [device for process in range(jax.process_count()) for device in jax.local_devices(process)]
    mesh = jax.sharding.Mesh(np.array(devices), (BATCH_AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(BATCH_AXIS))


def replicate(tree):
    """Leaves [...] → [devices, ...], the same on every device. All processes pass the same."""
    devices = jax.device_count()

    def copies(leaf):
        leaf = np.asarray(leaf)
        return np.broadcast_to(leaf[None], (devices, *leaf.shape))

    return shard(jax.tree.map(copies, tree))


def shard(tree):
    """Leaves [devices, ...] → the same, row i on device i. All processes pass all rows."""
    sharding = _sharding()

    def place(leaf):
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(place, tree)


def first_copy(tree):
    """Leaves [devices, ...] of equal rows → host arrays [...], all of them in one transfer."""
    here = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, tree)
    return jax.tree.map(lambda leaf: leaf[0, ...], jax.device_get(here))
