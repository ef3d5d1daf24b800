"""Trains a few steps on the devices and processes that the environment names.

    python few_steps.py LATENT METHOD SAMPLING OUT.npz [FACTORS]

OUT.npz is the state after the first step, under `first/`, and at the end, each with the metrics of an evaluation.

Codes of a vector-quantised latent follow moving averages, so short ones that those which the first step leaves out are
restarted by it: all their machinery is at work.
"""

import sys

import jax
import numpy as np
from small_runs import small_config

from mtvae_jax.config import resolve
from mtvae_jax.data import load_dataset
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.process import distributed
from mtvae_jax.process.devices import first_copy, replicate, shard
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.start import start_from_data
from mtvae_jax.training.step import init_state, make_train_steps

latent, method, sampling, out = sys.argv[1:5]
distributed.start()
dataset = load_dataset("mnist_sample", max_train=320)
config = small_config(method, latent=latent, conditioning__sampling=sampling)
if len(sys.argv) > 5:
    config.model.merge, config.model.factors = "context", int(sys.argv[5])
if latent == "vq":
    config.model.codebook_ema, config.model.codebook_restart = 0.2, 0.6
config = resolve(config, dataset.image_shape)
objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
optimizer = make_optimizer(config.train, steps_per_epoch=10)
state, start = init_state(objective, optimizer), start_from_data(objective, dataset.train)
state = replicate(state if start is None else start(state))
train_steps = make_train_steps(objective, optimizer, len(dataset.train))
knobs, data = replicate(objective.knobs), replicate({"images": dataset.train})
evaluate = Evaluator(objective)
validation = evaluate.place({"images": dataset.validation[:377]})


def named(state, prefix=""):
    leaves = jax.tree_util.tree_leaves_with_path(first_copy(state))
    arrays = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    arrays |= {f"val/{name}": value for name, value in evaluate(state.eval_variables, validation).items()}
    return {prefix + name: value for name, value in arrays.items()}


arrays = {}
for steps in (1, 4, 5, 2):  # over the end of an epoch
    state = train_steps(state, knobs, data, shard(np.full(jax.device_count(), steps, np.int32)))
    arrays = arrays or named(state, "first/")
arrays |= named(state)
distributed.on_main(np.savez)(out, devices=jax.device_count(), processes=jax.process_count(), **arrays)
