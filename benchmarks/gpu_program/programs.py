"""The project's programs, traced as they are on a GPU, on a machine that has none."""

import contextlib
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from mtvae_jax.models import build_model
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.objective import Objective
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.step import init_state, make_train_steps, steps_at_once

# Training images of MNIST, where a tenth is for validation: the length of an epoch is a constant of the program.
NUM_IMAGES = 54_000
EVALUATED, SAMPLED, REPLICAS = 500, 256, 8


@contextlib.contextmanager
def on_a_gpu(devices=None):
    """Within it whatever is traced takes its devices for GPUs.

    **Arguments:** `devices`: of a topology to compile for; None for the processor, to lower alone.
    """
    devices = jax.local_devices(backend="cpu")[:1] if devices is None else devices
    mesh = Mesh(np.array(devices), (BATCH_AXIS,))

    def pmap(function, axis_name, donate_argnums=()):
        """What `jax.pmap` is, but a `jax.jit` that may be lowered for another platform."""

        def one(*arguments):
            results = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
            return jax.tree.map(lambda leaf: leaf[None], results)

        along = PartitionSpec(axis_name)
        mapped = jax.shard_map(one, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)
        return jax.jit(mapped, donate_argnums=donate_argnums)

    jax.clear_caches()  # what was traced for the processor
    try:
        with (
            mock.patch.object(jax, "pmap", pmap),
            mock.patch.object(jax, "default_backend", return_value="gpu"),
            mock.patch.object(jax, "device_count", return_value=len(devices)),
        ):
            yield
    finally:
        jax.clear_caches()


def lower(function, arguments):
    """StableHLO for CUDA of a jitted function, by the shapes of its arguments: a `jax.stages.Lowered`."""
    return function.trace(*arguments).lower(lowering_platforms=("cuda",))


# Each program: (config, shape) → a jitted function, and the shapes of its arguments.


def training(config, shape, *, replicas=None, num_images=NUM_IMAGES):
    """Steps of the first stage, of `replicas` runs side by side where they are several."""
    objective = Objective(build_model(config, shape), config, shape)
    return _steps(objective, {"images": _array((num_images, *shape), jnp.uint8)}, num_images, replicas)


def second_stage(config, shape, *, num_images=NUM_IMAGES):
    """Steps of the second stage."""
    prior = LearnedPrior(config, shape, num_classes=0)
    objective = PriorObjective.of(prior)
    row = objective.latent.posterior_row
    data = prior.rows(_array((num_images, *row.shape), row.dtype), _array((num_images, *shape), jnp.uint8), None)
    return _steps(objective, data, num_images)


def evaluation(config, shape, *, batch=EVALUATED):
    """Terms of a batch of images, summed."""
    objective = Objective(build_model(config, shape), config, shape)
    with mock.patch("mtvae_jax.training.evaluate.replicate"):  # nothing is placed on the device that is not there
        sums = Evaluator(objective)._terms._sums
    rows = {
        "data": {"images": _array((batch, *shape), jnp.uint8)},
        "position": _array((batch,), jnp.int32),
        "valid": _array((batch,), jnp.bool_),
    }
    variables = jax.eval_shape(objective.init, objective.base_key)
    return sums, _on_each_device((variables, rows, objective.knobs))


def sampler(config, shape, *, batch=SAMPLED):
    """Draws of the second stage."""
    prior = LearnedPrior(config, shape, num_classes=0)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
    height, width, channels = shape
    m = _array((batch, height, width, channels + 1), jnp.float32) if prior.sees_pixels else None
    # Mapped over the devices, which it is not elsewhere: for those it is to be compiled.
    sample = jax.pmap(functools.partial(prior.network.apply, method="sample"), axis_name=BATCH_AXIS)
    return sample, _on_each_device((prior.variable_shapes(), keys, m, None))


def _steps(objective, data, num_images, replicas=None):
    optimizer = make_optimizer(objective.settings, num_images // objective.settings.batch_size)
    state, knobs = jax.eval_shape(lambda: init_state(objective, optimizer)), objective.knobs
    if replicas is not None:
        state, knobs = jax.tree.map(lambda leaf: _array((replicas, *leaf.shape), leaf.dtype), (state, knobs))
    steps = make_train_steps(
        objective, optimizer, num_images, replicates=replicas is not None,
        num_steps=steps_at_once(num_images // objective.settings.batch_size),
    )  # fmt: skip
    return steps, _on_each_device((state, knobs, data, _array((), jnp.int32)))


def _on_each_device(tree):
    return jax.tree.map(lambda leaf: _array((jax.device_count(), *leaf.shape), leaf.dtype), tree)


_array = jax.ShapeDtypeStruct
