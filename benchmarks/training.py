"""Training as the package does it, as a program that takes turns with others, in this process or in one of its own.

    python -m benchmarks.training DIRECTORY       # of a `processes.Team`; with config.json and images.npy
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.processes import host_peak_bytes, serve
from benchmarks.turns import Program
from mtvae_jax.config import from_dict, to_dict
from mtvae_jax.models import build_model, count_parameters
from mtvae_jax.objective import Objective
from mtvae_jax.process import distributed, environment
from mtvae_jax.process.devices import first_copy, replicate
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import TrainingProgram, init_state


def objective_of(config, image_shape):
    return Objective(build_model(config, image_shape), config, image_shape)


class Training(Program):
    """Steps of training, as many a call as stay within an epoch.

    **Arguments:** `data`: arrays [N, …] as the objectives want their rows; `objectives`: of either stage; several,
    which differ in seed and knobs alone, train side by side.
    **Attributes:** `images_per_step`: of all objectives; `parameters`: of one; `compiled`: the program;
    `memory_bytes`: the state, the data and all that a step needs besides; `state`: replicated, of the last step.
    """

    def __init__(self, data, *objectives):
        settings, num_images = objectives[0].settings, len(jax.tree.leaves(data)[0])
        self.images_per_step = len(objectives) * settings.batch_size
        self._steps_per_epoch = num_images // settings.batch_size
        optimizer = make_optimizer(settings, self._steps_per_epoch)
        states = [jax.device_get(init_state(objective, optimizer)) for objective in objectives]
        self.parameters = count_parameters(states[0].params)["total"]
        lanes = states, [objective.knobs for objective in objectives]
        if len(objectives) == 1:
            state, knobs = (trees[0] for trees in lanes)
        else:
            state, knobs = (jax.tree.map(lambda *leaves: np.stack(leaves), *trees) for trees in lanes)
        self.state = replicate(state)
        self._done = 0
        start = time.perf_counter()
        self._program = TrainingProgram(
            objectives[0], self.state, replicate(knobs), data, replicates=len(objectives) > 1
        )
        self.compiled = self._program.compiled
        super().__init__(self.train, time.perf_counter() - start)
        memory = self.compiled.memory_analysis()
        self.memory_bytes = memory.argument_size_in_bytes + memory.temp_size_in_bytes

    def train(self, num_steps):
        """Returns once so many steps are done on the devices."""
        while num_steps:
            call = min(num_steps, self._steps_per_epoch - self._done % self._steps_per_epoch)
            self.state = self._program(self.state, call)
            first_copy(self.state.metrics)
            self._done, num_steps = self._done + call, num_steps - call


def write_job(directory, config, images):
    """Writes what a process needs to train: a resolved config, uint8 images [N, H, W, C]."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(to_dict(config)))
    np.save(directory / "images.npy", images)


def _peak_bytes():
    if jax.default_backend() == "cpu":
        return host_peak_bytes()
    statistics = jax.local_devices()[0].memory_stats() or {}  # not every device counts
    return statistics.get("peak_bytes_in_use")


def main(directory):
    environment.configure()
    distributed.start()
    config, images = from_dict(json.loads((directory / "config.json").read_text())), np.load(directory / "images.npy")
    training = Training({"images": images}, objective_of(config, images.shape[1:]))
    facts = {"parameters": training.parameters, "versions": environment.versions(), "device": environment.device()}
    serve(training.train, facts, _peak_bytes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
