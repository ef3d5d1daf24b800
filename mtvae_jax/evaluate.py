"""Exact evaluation of a split: every image once, with masks and noise from a fixed key."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtvae_jax.losses import bits_per_dim
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.replication import shard
from mtvae_jax.step import Purpose

# Not the run's seed: every model of a sampling type is judged on the same masks, at every epoch.
_EVALUATION_SEED = 20240502
_BATCH_PER_DEVICE = 250
_COUNTS = (0, 5, 10, 20, 49, 100, 200, 400)


class Evaluator:
    """Metrics of a model on a split. One program serves splits of every length.

    **Arguments:** `objective`.
    """

    def __init__(self, objective):
        self._objective = objective
        self._num_values = math.prod(objective.image_shape)
        self._terms = _Sums(objective.evaluation_terms)
        self._error = _Sums(objective.conditioned_error)

    def place(self, images):
        """Puts a split on the devices, once for all its evaluations.

        **Arguments:** `images`: uint8 [N, H, W, C]. **Returns:** what `__call__` takes: batches, the last one padded.
        """
        per_call = jax.local_device_count() * _BATCH_PER_DEVICE
        padding = -len(images) % per_call
        position = np.arange(len(images) + padding, dtype=np.int32)
        arrays = {
            "images": np.concatenate([images, np.zeros((padding, *images.shape[1:]), images.dtype)]),
            "position": position,
            "valid": position < len(images),
        }
        by_call = {
            name: values.reshape(-1, jax.local_device_count(), _BATCH_PER_DEVICE, *values.shape[1:])
            for name, values in arrays.items()
        }
        return [shard({name: values[i] for name, values in by_call.items()}) for i in range(len(by_call["valid"]))]

    def __call__(self, variables, batches):
        """**Arguments:** `variables`: replicated; `batches`: from `place`.
        **Returns:** metric name → float, averaged over all images.
        """
        metrics = self._terms.mean(variables, batches)
        for suffix in ("", "_conditioned"):
            if f"reconstruction{suffix}" in metrics and "kl" in metrics:
                metrics[f"bits_per_dim{suffix}"] = float(
                    bits_per_dim(metrics[f"reconstruction{suffix}"], metrics["kl"], self._num_values)
                )
        return metrics

    def by_count(self, variables, batches):
        """Reconstruction error against the number of revealed pixels, {0: …, 5: …, …, H·W: …} (thesis 3.3.1).

        Only for methods that have learnt to work with any number; None for the others.
        """
        if not self._objective.method.empty_mask:
            return None
        height, width, _ = self._objective.image_shape
        counts = [count for count in _COUNTS if count < height * width] + [height * width]
        devices = jax.local_device_count()
        return {
            count: self._error.mean(variables, batches, shard(np.full((devices,), count, np.int32)))["error"]
            for count in counts
        }


class _Sums:
    """Means over a split of the metrics that `terms(variables, images, keys, keys, …)` gives each image."""

    def __init__(self, terms):
        self._names = None

        def sums(variables, batch, *arguments):
            """Every metric summed over the images of all devices, then their number, in one vector."""
            base = jax.random.key(_EVALUATION_SEED)
            keys = [
                jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(base, purpose), batch["position"])
                for purpose in (Purpose.LATENT, Purpose.MASK)
            ]
            found = terms(variables, batch["images"].astype(jnp.float32) / 255.0, *keys, *arguments)
            self._names = list(found)
            # A choice, not a product: a metric of a padding image may well not be finite.
            totals = [jnp.sum(jnp.where(batch["valid"], term, 0.0)) for term in found.values()]
            return lax.psum(jnp.stack([*totals, jnp.sum(batch["valid"], dtype=jnp.float32)]), BATCH_AXIS)

        self._sums = jax.pmap(sums, axis_name=BATCH_AXIS)

    def mean(self, variables, batches, *arguments):
        """Name → float, averaged over all images of `batches`."""
        # Every call is under way before the first result is waited for.
        sums = [self._sums(variables, batch, *arguments) for batch in batches]
        *totals, count = np.sum([np.asarray(s.addressable_shards[0].data)[0] for s in sums], axis=0, dtype=np.float64)
        return {name: float(total / count) for name, total in zip(self._names, totals, strict=True)}
