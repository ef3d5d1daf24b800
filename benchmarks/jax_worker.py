"""This package's training, exactly as `mtvae_jax.train` does it, as a competitor of `training_speed`."""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.worker import serve
from mtvae_jax import environment
from mtvae_jax.config import from_dict
from mtvae_jax.models import build_model, count_parameters
from mtvae_jax.objective import Objective
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.replication import first_replica, replicate, shard
from mtvae_jax.step import init_state, make_train_steps


def trainer(directory):
    """**Arguments:** `directory`: with config.json and images.npy (uint8 [N, H, W, C]).
    **Returns:** a function num_steps → None, once they are done on the devices; images a step; facts for the record.
    """
    config = from_dict(json.loads((directory / "config.json").read_text()))
    images = np.load(directory / "images.npy")
    steps_per_epoch = len(images) // config.train.batch_size
    objective = Objective(build_model(config, images.shape[1:]), config, images.shape[1:])
    optimizer = make_optimizer(config.train, steps_per_epoch)
    state = init_state(objective, optimizer)
    parameters = count_parameters(state.params)["total"]
    train_steps = make_train_steps(objective, optimizer, len(images))
    state, knobs, data = replicate(state), replicate(objective.knobs), replicate({"images": images})
    done = 0

    def train(num_steps):
        nonlocal state, done
        while num_steps:
            call = min(num_steps, steps_per_epoch - done % steps_per_epoch)  # never across an epoch's end
            devices = data["images"].shape[0]
            state = train_steps(state, knobs, data, shard(np.full((devices,), call, np.int32)))
            first_replica(state.metrics)
            done, num_steps = done + call, num_steps - call

    facts = {"parameters": parameters, "versions": environment.versions(), "device": environment.device()}
    return train, config.train.batch_size, facts


if __name__ == "__main__":
    environment.configure()
    serve(*trainer(Path(sys.argv[1])))
