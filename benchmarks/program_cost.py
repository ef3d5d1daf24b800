"""What a step of training costs before any machine comes in: its arithmetic and its memory traffic, by XLA's count.

    python -m benchmarks.program_cost

Counted is the program as it is for GPUs, with convolutions as XLA's own operations: of the products of patches that
CPUs run, XLA would count the loops over slices once, and the zeros of the padding as work. So the figures are those
of the model, whatever computes it. FLOPs are the same on every device; bytes are those of the program compiled for
this one: every operand of a fused kernel read once, every result written once, caches left out of account.
"""

import contextlib
import math
from unittest import mock

import jax
import jax.numpy as jnp
import optax

from benchmarks.harness import Benchmark, Table, command
from benchmarks.models import SHAPES
from benchmarks.training import objective_of
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.ops import convolution
from mtvae_jax.randomness import image_keys
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import init_state, make_train_steps


def measure(config, images, *, rounds, seconds):
    """Takes the seconds of compiling a step. **Returns:** {"flops_per_image", "bytes_per_image": None if unknown}."""
    image_shape = images.shape[1:]
    return {"flops_per_image": step_flops(config, image_shape), "bytes_per_image": step_bytes(config, image_shape)}


def step_flops(config, image_shape):
    """Counts the FLOPs of an image: the loss's gradient and the optimiser's step, as `training.step` has them."""
    batch = config.train.batch_size
    # XLA counts before it compiles on CPUs only, whatever the default device is.
    with jax.default_device(jax.local_devices(backend="cpu")[0]), convolutions_of_xla():
        objective = Objective(build_model(config, image_shape, axis_name=None), config, image_shape)
        optimizer = make_optimizer(config.train, steps_per_epoch=1)

        def step(params, batch_stats, optimizer_state, images, key):
            keys = [image_keys(key, batch) for key in jax.random.split(jax.random.wrap_key_data(key))]
            gradient = jax.grad(objective.training_loss, has_aux=True)
            gradients, (batch_stats, terms) = gradient(params, batch_stats, {"images": images}, *keys)
            updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
            new = objective.after_update(params, optax.apply_updates(params, updates), batch_stats)
            return new, optimizer_state, terms

        state = jax.eval_shape(lambda: init_state(objective, optimizer))
        images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
        lowered = jax.jit(step).lower(state.params, state.batch_stats, state.optimizer_state, images, state.key)
        return lowered.cost_analysis()["flops"] / batch


def step_bytes(config, image_shape):
    """Counts bytes an image, read and written, of the program compiled for this device; None if unknown."""
    with convolutions_of_xla():
        train_steps, arguments = steps_and_arguments(config, image_shape)
        return bytes_per_image(train_steps.lower(*arguments).compile(), config)


def bytes_per_image(compiled, config):
    """Counts those of compiled steps, by XLA; None where it does not count, or not all: what a library's call moves,
    as of a convolution by cuDNN, it does not know.
    """
    counted = (compiled.cost_analysis() or {}).get("bytes accessed", math.nan)
    unknown = not math.isfinite(counted) or "custom-call(" in compiled.as_text()
    return None if unknown else counted / config.train.batch_size


def steps_and_arguments(config, image_shape):
    """Returns what `make_train_steps` does, and the shapes of its arguments. XLA counts the loop over steps as one."""
    objective = objective_of(config, image_shape)
    optimizer = make_optimizer(config.train, steps_per_epoch=1)
    num_images, devices = config.train.batch_size, jax.device_count()
    state = jax.eval_shape(lambda: init_state(objective, optimizer))
    data = {"images": jax.ShapeDtypeStruct((num_images, *image_shape), jnp.uint8)}
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((devices, *leaf.shape), leaf.dtype),
        (state, objective.knobs, data, jax.ShapeDtypeStruct((), jnp.int32)),
    )
    return make_train_steps(objective, optimizer, num_images), arguments


@contextlib.contextmanager
def convolutions_of_xla():
    """Gives whatever is traced within it `lax` convolutions, on CPUs too."""
    with mock.patch.object(convolution, "_choose", return_value="lax"):
        yield


def rows(name, figures):
    flops, traffic = figures["flops_per_image"], figures["bytes_per_image"]
    of_traffic = ("unknown", "") if traffic is None else (f"{traffic / 1e3:,.0f}", f"{flops / traffic:.1f}")
    yield name, f"{flops / 1e6:,.1f}", *of_traffic


COLUMNS = ("model", "MFLOP an image", "KB an image", "FLOP a byte")
BENCHMARK = Benchmark("cost", measure, (Table("A step by XLA's count", COLUMNS, rows),), seconds=0.0)

if __name__ == "__main__":
    shapes = ",".join("x".join(map(str, shape)) for shape in SHAPES)
    command(__doc__, BENCHMARK, methods=",".join(METHODS), shapes=shapes)
