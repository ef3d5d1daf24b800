"""Trees of many small arrays as trees of few: the vectors of a tree in one, behind one another.

A model has a handful of vectors a layer, and what is done to each of them alone is a kernel each to a GPU.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtvae_jax.ops.backend import backend


class Packed(NamedTuple):
    """**vector**: float32 [V], all vectors and scalars of a tree, None where there are none; **others**: its other
    leaves."""

    vector: jax.Array | None
    others: list


class Packing:
    """The way there and back for trees of one structure and one shape.

    **Arguments:** `like`: such a tree, of arrays or their shapes.
    """

    def __init__(self, like):
        leaves, self._structure = jax.tree.flatten(like)
        self._shapes = [np.shape(leaf) for leaf in leaves]
        self._small = [np.ndim(leaf) <= 1 and leaf.dtype == jnp.float32 for leaf in leaves]

    def pack(self, tree):
        """Returns a tree → `Packed`."""
        leaves = self._structure.flatten_up_to(tree)
        small = [leaf.reshape(-1) for leaf, small in zip(leaves, self._small, strict=True) if small]
        others = [leaf for leaf, small in zip(leaves, self._small, strict=True) if not small]
        return Packed(jnp.concatenate(small) if small else None, others)

    def unpack(self, packed):
        """Returns `Packed` → the tree."""
        leaves, start, others = [], 0, iter(packed.others)
        for shape, small in zip(self._shapes, self._small, strict=True):
            if small:
                end = start + math.prod(shape)
                leaves.append(lax.slice(packed.vector, (start,), (end,)).reshape(shape))
                start = end
            else:
                leaves.append(next(others))
        return jax.tree.unflatten(self._structure, leaves)

    def pack_within(self, tree):
        """Returns a tree, some of whose parts are trees of this structure: these packed. So are the moments of an
        optimiser.
        """
        return jax.tree.map(lambda part: self.pack(part) if self._fits(part) else part, tree, is_leaf=self._fits)

    def unpack_within(self, tree):
        """Its inverse."""
        packed = functools.partial(_is, Packed)
        return jax.tree.map(lambda part: self.unpack(part) if packed(part) else part, tree, is_leaf=packed)

    def _fits(self, part):
        return jax.tree.structure(part) == self._structure


class Unpacked:
    """A `Packing` that leaves all as it is."""

    def __init__(self, like):
        pass

    def pack(self, tree):
        return tree

    unpack = pack_within = unpack_within = pack


class StatePacking:
    """The way of a `TrainState` into a loop over steps and out of it, packed where the device's `Backend` has vectors
    together.

    **Arguments:** `state`. **Attributes:** `params`, `batch_stats`, `metrics`: the `Packing` of each.
    """

    def __init__(self, state):
        packing = Packing if backend().vectors_together else Unpacked
        self.params, self.batch_stats = packing(state.params), packing(state.batch_stats)
        self.metrics = packing(state.metrics)

    def pack(self, state):
        return self._changed(state, "pack")

    def unpack(self, state):
        return self._changed(state, "unpack")

    def _changed(self, state, way):
        def change(name, tree):
            return getattr(getattr(self, name), way)(tree)

        average = state.average
        return state.replace(
            params=change("params", state.params),
            batch_stats=change("batch_stats", state.batch_stats),
            optimizer_state=getattr(self.params, f"{way}_within")(state.optimizer_state),
            average=None if average is None else {name: change(name, tree) for name, tree in average.items()},
            metrics=change("metrics", state.metrics),
        )


def _is(kind, value):
    return isinstance(value, kind)
