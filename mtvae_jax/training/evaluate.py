"""Exact evaluation of a split: every image once, with masks and noise from a fixed key."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.ops.backend import backend
from mtvae_jax.process.devices import first_copy, replicate, shard
from mtvae_jax.randomness import evaluation_keys

_COUNTS = (0, 5, 10, 20, 49, 100, 200, 400)


class Evaluator:
    """Metrics of a model on a split. One program serves splits of every length.

    **Arguments:** `objective`.
    """

    def __init__(self, objective):
        self._objective = objective
        self._terms = _Sums(objective.evaluation_terms, objective.varying)
        self._errors = _Sums(lambda *arguments: objective.conditioned_error(*arguments))  # a prior has none
        self._knobs = replicate(objective.knobs)

    def of(self, objective):
        """Returns an evaluator with the same programs, for an objective that differs in nothing but its knobs."""
        other = copy.copy(self)
        other._objective, other._knobs = objective, replicate(objective.knobs)
        return other

    def place(self, data):
        """Puts a split on the devices, once for all its evaluations.

        **Arguments:** `data`: arrays [N, …], as the objective's `evaluation_terms` wants their rows.
        **Returns:** what `__call__` takes: batches, the last one padded.
        """
        num_images = len(jax.tree.leaves(data)[0])
        per_device = backend().images_at_once
        per_call = jax.device_count() * per_device
        padding = -num_images % per_call
        position = np.arange(num_images + padding, dtype=np.int32)
        data = jax.tree.map(lambda a: np.concatenate([a, np.zeros((padding, *a.shape[1:]), a.dtype)]), data)
        arrays = {"data": data, "position": position, "valid": position < num_images}
        shape = (-1, jax.device_count(), per_device)
        by_call = jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), arrays)
        return [shard(jax.tree.map(lambda a, i=i: a[i], by_call)) for i in range(len(by_call["valid"]))]

    def __call__(self, variables, batches):
        """**Arguments:** `variables`: replicated; `batches`: from `place`.
        **Returns:** metric name → float, over all images.
        """
        return self.finish(self.start(variables, batches))

    def start(self, variables, batches):
        """Begins a call; what it returns, `finish` makes the metrics of. So several are under way at once."""
        return self._terms.start(variables, batches, self._knobs)

    def finish(self, started):
        return self._objective.metrics(self._terms.finish(started))

    def means(self, variables, batches):
        """Returns what the metrics are made of: name → float64 array, averaged over all images; and NAME_variance, the
        variance over all images, of each of `objective.varying`. Arguments as `__call__`.
        """
        return self._terms.finish(self._terms.start(variables, batches, self._knobs))

    def by_count(self, variables, batches):
        """Returns the reconstruction error against the number of revealed pixels, {0: …, 5: …, …, H·W: …} (thesis
        3.3.1).

        Only for methods that have learnt to work with any number; None for the others.
        """
        if not self._objective.method.empty_mask:
            return None
        height, width, _ = self._objective.image_shape
        counts = [count for count in _COUNTS if count < height * width] + [height * width]
        started = {
            count: self._errors.start(
                variables, batches, self._knobs, shard(np.full((jax.device_count(),), count, np.int32))
            )
            for count in counts
        }
        return {count: float(self._errors.finish(sums)["error"]) for count, sums in started.items()}


class _Sums:
    """Means over a split of the terms that `terms(variables, rows, keys, keys, knobs, …)` gives each image, and of
    those named in `varying` also the variance.

    float32 does not know a variance from a mean of squares where the values lie far from 0. So squares are of the
    distance from the mean of their call, and the means of calls are put together in float64.
    """

    def __init__(self, terms, varying=()):
        def sums(variables, batch, *arguments):
            """Returns every term summed over the images of all devices, squared distances likewise, and their number.
            """
            keys = evaluation_keys(batch["position"])

            def total(term):
                # A choice, not a product: a term of a padding image may well not be finite.
                return jnp.sum(jnp.where(batch["valid"].reshape(-1, *[1] * (term.ndim - 1)), term, 0.0), axis=0)

            values = terms(variables, batch["data"], *keys, *arguments)
            totals = jax.tree.map(total, values)
            totals, count = lax.psum((totals, jnp.sum(batch["valid"], dtype=jnp.float32)), BATCH_AXIS)
            squares = {name: total((values[name] - totals[name] / count) ** 2) for name in varying}
            return totals, lax.psum(squares, BATCH_AXIS), count

        self._sums = jax.pmap(sums, axis_name=BATCH_AXIS)

    def start(self, variables, batches, *arguments):
        """Begins every call, and waits for none."""
        return [self._sums(variables, batch, *arguments) for batch in batches]

    def finish(self, started):
        """Returns name → float64 array, averaged over all images of the batches; with NAME_variance where it is wanted.
        """
        calls = jax.tree.map(lambda *calls: np.stack(calls).astype(np.float64), *first_copy(started))
        totals, squares, counts = calls  # each [calls, …]
        means = jax.tree.map(lambda total: total.sum(0) / counts.sum(), totals)
        for name, square in squares.items():
            each = counts.reshape(-1, *[1] * (square.ndim - 1))
            between = each * (totals[name] / each - means[name]) ** 2
            means[f"{name}_variance"] = (square + between).sum(0) / counts.sum()
        return means
