"""The training step: pure, pmapped over the devices, many steps in one compiled call."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from mtvae_jax.balancing import Balance
from mtvae_jax.conditioning import image_keys
from mtvae_jax.models.layers import BATCH_AXIS


class Purpose(enum.IntEnum):
    """What a random number is for: folded into the run's base key first, then the step, then the image's position.

    The position in the global batch stands for the device too, so that one device and many draw the same numbers.
    """

    INIT = 0
    SHUFFLE = 1
    LATENT = 2
    MASK = 3
    CODEBOOK = 4  # where it starts
    PRIOR = 5  # the base key of the second stage


@struct.dataclass
class TrainState:
    """All that training changes, saved and restored as one.

    `metrics` are the sums of the current epoch's terms over its steps so far; `average` is the exponential moving
    average of parameters and batch statistics, or None; `key` is the run's base key as raw data, which never changes.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    optimizer_state: Any
    average: Any
    metrics: dict[str, jax.Array]
    key: jax.Array
    balance = None  # not a field: the checkpoints of runs that need none know of none

    @property
    def eval_variables(self):
        """What evaluation uses: the average where there is one."""
        return {"params": self.params, "batch_stats": self.batch_stats} if self.average is None else self.average


@struct.dataclass
class BalancedState(TrainState):
    """The state of a training that weighs the parts of its loss anew: `balance` says how, and on what grounds."""

    balance: Balance = None


def init_state(objective, optimizer):
    """The state at step 0, on one device, from the objective's base key."""
    variables = objective.init(jax.random.fold_in(objective.base_key, Purpose.INIT))
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer_state=optimizer.init(variables["params"]),
        average=None if objective.settings.ema_decay is None else jax.tree.map(jnp.copy, variables),
        metrics={name: jnp.zeros(shape) for name, shape in objective.term_shapes.items()},
        key=jax.random.key_data(objective.base_key),
    )
    if objective.balancing is None:
        return state
    balance = objective.balancing.start(len(objective.part_names))
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    fields["metrics"] |= {f"weight_{name}": jnp.zeros(()) for name in objective.part_names}
    return BalancedState(**fields, balance=balance)


def epoch_order(key, epoch, num_images):
    """The order in which an epoch shows its images, int32 [N]: every step takes the next batch of them.

    **Arguments:** `key`: the run's base key; `epoch`: counted from 0.
    """
    key = jax.random.fold_in(key, Purpose.SHUFFLE)
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_images)


def step_keys(key, step, batch, first):
    """Of each image of a step the keys of its latent and of its mask: two arrays of typed keys [B].

    **Arguments:** `key`: the run's base key; `batch`: how many images; `first`: the position of the first of them in
    the global batch.
    """
    return [
        image_keys(jax.random.fold_in(jax.random.fold_in(key, purpose), step), batch, first)
        for purpose in (Purpose.LATENT, Purpose.MASK)
    ]


def make_train_steps(objective, optimizer, num_images, *, replicates=False):
    """The compiled training call.

    **Arguments:** `objective`; `optimizer`: an optax transformation; `num_images`: N, of the training split;
    `replicates`: whether a state is R states, [devices, R, …], which train side by side in one program on the same
    data, each as it would alone, with the random numbers of its own key and with its own knobs, [devices, R, …].
    **Returns:** `train_steps(state, knobs, data, num_steps) -> state`, pmapped: `state` replicated and donated; `knobs`
    the objective's, replicated, traced, so that one program serves all runs that differ in them alone; `data` arrays
    [devices, N, …], the whole split on every device, as the objective's `training_loss` wants its rows; `num_steps` int
    [devices], traced, so that one program runs any number of steps within an epoch.
    """
    settings = objective.settings
    batch = settings.batch_size // jax.device_count()
    steps_per_epoch = num_images // settings.batch_size

    def one_step(state, knobs, data, order):
        base = jax.random.wrap_key_data(state.key)
        first = lax.axis_index(BATCH_AXIS) * batch
        start = state.step % steps_per_epoch * settings.batch_size + first
        rows = lax.dynamic_slice(order, (start,), (batch,))
        share = jax.tree.map(lambda array: array[rows], data)
        latent_keys, mask_keys = step_keys(base, state.step, batch, first)

        gradient = jax.grad(objective.training_loss, has_aux=True)
        weights = None if state.balance is None else state.balance.weights
        current = objective.training_knobs(knobs, state.step / steps_per_epoch, weights)
        gradients, (batch_stats, terms) = gradient(
            state.params, state.batch_stats, share, latent_keys, mask_keys, current
        )
        if jax.device_count() > 1:  # over one device the mean is a copy of every gradient
            gradients, terms = lax.pmean((gradients, terms), BATCH_AXIS)

        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, batch_stats = objective.after_update(state.params, params, batch_stats)
        if state.balance is not None:
            # As the user weighs them, β in full: what warms up does not rise.
            parts = jnp.stack(objective.parts(terms, knobs.beta))
            state = state.replace(balance=objective.balancing.follow(state.balance, parts, state.step))
            names = (f"weight_{name}" for name in objective.part_names)
            terms |= dict(zip(names, weights, strict=True))
        new_epoch = state.step % steps_per_epoch == 0
        return state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            optimizer_state=optimizer_state,
            average=_moving_average(state, params, batch_stats),
            metrics=jax.tree.map(lambda total, term: jnp.where(new_epoch, 0.0, total) + term, state.metrics, terms),
        )

    def _moving_average(state, params, batch_stats):
        if state.average is None:
            return None
        # Early on the average follows closely, so that it soon forgets the random start.
        decay = jnp.minimum(settings.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        new = {"params": params, "batch_stats": batch_stats}
        return jax.tree.map(lambda old, value: decay * old + (1.0 - decay) * value, state.average, new)

    def train_steps(state, knobs, data, num_steps):
        order = epoch_order(jax.random.wrap_key_data(state.key), state.step // steps_per_epoch, num_images)
        return lax.fori_loop(0, num_steps, lambda _, s: one_step(s, knobs, data, order), state)

    if replicates:
        train_steps = jax.vmap(train_steps, in_axes=(0, 0, None, None))
    return jax.pmap(train_steps, axis_name=BATCH_AXIS, donate_argnums=0)
