"""Runs side by side: the states of several trainings as rows of one, trained by one compiled program."""

import jax
import numpy as np

from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.process.devices import first_replica, replicate, shard
from mtvae_jax.training.step import make_train_steps


class Lanes:
    """What is on the devices while R runs train, each in a lane of its own; a run that is alone has no rows.

    No lane knows of the others: one whose numbers are not finite spoils only its own.

    **Arguments:** `objectives`: one a run, which differ in nothing but their seed and their knobs; `optimizer`: of all;
    `states`: one a run, host arrays, at the same step; `data`: host arrays [N, …], the training split of all.
    """

    def __init__(self, objectives, optimizer, states, data):
        self._number = len(states)
        num_images = len(jax.tree.leaves(data)[0])
        self._train_steps = make_train_steps(objectives[0], optimizer, num_images, replicates=self._number > 1)
        self._state = self._place(states)
        self._knobs = self._place([objective.knobs for objective in objectives])
        self._data = replicate(data)
        self._pick = jax.pmap(lambda tree, row: jax.tree.map(lambda leaf: leaf[row], tree), axis_name=BATCH_AXIS)

    def compile(self):
        arguments = self._state, self._knobs, self._data, _per_device(1)
        self._train_steps = self._train_steps.lower(*arguments).compile()

    @property
    def working_bytes(self):
        """What the compiled program needs on a device beside its arguments; None where that is not known."""
        memory = self._train_steps.memory_analysis()
        return None if memory is None else memory.temp_size_in_bytes

    def train(self, num_steps):
        """Takes so many steps in every lane, and waits. **Returns:** for each the sums of the current epoch's terms."""
        self._state = self._train_steps(self._state, self._knobs, self._data, _per_device(num_steps))
        return self._rows(first_replica(self._state.metrics))

    def at_rest(self):
        """The state of each lane, host arrays."""
        return self._rows(first_replica(self._state))

    def eval_variables(self, lane):
        """What a lane's evaluation uses, on the devices."""
        variables = self._state.eval_variables
        return variables if self._number == 1 else self._pick(variables, _per_device(lane))

    def advance(self, lane, state, num_steps):
        """Takes the steps once more that the lane has taken: host state → host state, by the same program."""
        states = self._place([state] * self._number)
        states = self._train_steps(states, self._knobs, self._data, _per_device(num_steps))
        return self._rows(first_replica(states))[lane]

    def _place(self, trees):
        """Host trees, one a lane → leaves [devices, R, …], or [devices, …] of a single one."""
        return replicate(trees[0] if self._number == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *trees))

    def _rows(self, tree):
        """The reverse, of one replica."""
        if self._number == 1:
            return [tree]
        return [jax.tree.map(lambda leaf, row=row: leaf[row, ...], tree) for row in range(self._number)]


def _per_device(number):
    return shard(np.full((jax.device_count(),), number, np.int32))
