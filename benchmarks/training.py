"""Training as the package does it, as a program that takes turns with others."""

import math
import time

import jax
import numpy as np

from benchmarks.turns import Program
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.replication import first_replica, replicate, shard
from mtvae_jax.step import init_state, make_train_steps


def objective_of(config, image_shape):
    return Objective(build_model(config, image_shape), config, image_shape)


class Training(Program):
    """Steps of training, as many a call as stay within an epoch.

    **Arguments:** `objective`: of either stage; `data`: arrays [N, …] as it wants their rows.
    **Attributes:** `batch_size`: images a step; `memory_bytes`: the state, the data and all that a step needs besides;
    `bytes_per_image`: read and written, by XLA's count, wrong where convolutions are loops, as on CPUs; `state`:
    replicated, of the last step.
    """

    def __init__(self, objective, data):
        num_images = len(jax.tree.leaves(data)[0])
        self.batch_size = objective.settings.batch_size
        self._steps_per_epoch = num_images // self.batch_size
        optimizer = make_optimizer(objective.settings, self._steps_per_epoch)
        self.state, self._data = replicate(init_state(objective, optimizer)), replicate(data)
        self._knobs = replicate(objective.knobs)
        self._done = 0
        start = time.perf_counter()
        train_steps = make_train_steps(objective, optimizer, num_images)
        self._steps = train_steps.lower(self.state, self._knobs, self._data, _count(1)).compile()
        super().__init__(self._train, time.perf_counter() - start)
        cost = self._steps.cost_analysis() or {}  # not every device counts
        self.bytes_per_image = cost.get("bytes accessed", math.nan) / self.batch_size
        memory = self._steps.memory_analysis()
        self.memory_bytes = memory.argument_size_in_bytes + memory.temp_size_in_bytes

    def _train(self, num_steps):
        while num_steps:
            call = min(num_steps, self._steps_per_epoch - self._done % self._steps_per_epoch)
            self.state = self._steps(self.state, self._knobs, self._data, _count(call))
            first_replica(self.state.metrics)
            self._done, num_steps = self._done + call, num_steps - call


def _count(number):
    return shard(np.full((jax.device_count(),), number, np.int32))
