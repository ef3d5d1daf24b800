"""Trains a few steps on as many virtual devices as XLA_FLAGS says: python few_steps.py LATENT METHOD SAMPLING OUT.npz

Codes of a vector-quantised latent follow moving averages and are restarted, so that all their machinery is at work.
"""

import sys

import jax
import numpy as np
from small_runs import small_config

from mtvae_jax.codebook_start import codebook_from_data
from mtvae_jax.config import resolve
from mtvae_jax.data import load_dataset
from mtvae_jax.evaluate import Evaluator
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.replication import first_replica, replicate, shard
from mtvae_jax.step import init_state, make_train_steps

latent, method, sampling, out = sys.argv[1:]
dataset = load_dataset("mnist_sample", max_train=320)
config = small_config(method, latent=latent, conditioning__sampling=sampling)
if latent == "vq":
    config.model.codebook_ema, config.model.codebook_restart = 0.9, 0.3
config = resolve(config, dataset.image_shape)
objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
optimizer = make_optimizer(config.train, steps_per_epoch=10)
state, start = init_state(objective, optimizer), codebook_from_data(objective, dataset.train)
state = replicate(state if start is None else start(state))
train_steps = make_train_steps(objective, optimizer, len(dataset.train))
data = replicate({"images": dataset.train})
for steps in (1, 4, 5, 2):  # over the end of an epoch
    state = train_steps(state, data, shard(np.full(jax.local_device_count(), steps, np.int32)))
evaluate = Evaluator(objective)
metrics = evaluate(state.eval_variables, evaluate.place({"images": dataset.validation[:77]}))
leaves = jax.tree_util.tree_leaves_with_path(first_replica(state))
np.savez(
    out,
    devices=jax.device_count(),
    **{jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves},
    **{f"val/{name}": value for name, value in metrics.items()},
)
