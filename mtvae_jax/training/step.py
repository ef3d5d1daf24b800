"""The training step: pure, pmapped over the devices, many steps in one compiled call."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import lax

from mtvae_jax.balancing import Balance
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.ops.backend import backend
from mtvae_jax.process import environment
from mtvae_jax.process.devices import first_copy, replicate, shard
from mtvae_jax.randomness import Purpose, epoch_order, step_keys
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.packing import StatePacking


@struct.dataclass
class TrainState:
    """All that training changes, saved and restored as one.

    `metrics` are the sums of the current epoch's terms over its steps so far; `average` is the exponential moving
    average of parameters and batch statistics, or None; `key` is the run's base key as raw data, which never changes;
    `balance` says how the parts of the loss are weighed anew and on what grounds, None where their weights are fixed.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    optimizer_state: Any
    average: Any
    metrics: dict[str, jax.Array]
    key: jax.Array
    balance: Balance | None = None

    @property
    def eval_variables(self):
        """What evaluation uses: the average where there is one."""
        return {"params": self.params, "batch_stats": self.batch_stats} if self.average is None else self.average


def init_state(objective, optimizer):
    """Returns the state at step 0, on one device, from the objective's base key."""
    variables = objective.init(jax.random.fold_in(objective.base_key, Purpose.INIT))
    metrics, balance = dict(objective.term_shapes), None
    if objective.balancing is not None:
        balance = objective.balancing.start(len(objective.part_names))
        metrics |= {f"weight_{name}": () for name in objective.part_names}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        optimizer_state=optimizer.init(variables["params"]),
        average=None if objective.settings.ema_decay is None else jax.tree.map(jnp.copy, variables),
        metrics={name: jnp.zeros(shape) for name, shape in metrics.items()},
        key=jax.random.key_data(objective.base_key),
        balance=balance,
    )


def steps_at_once(steps_per_epoch):
    """Returns how many steps a program of a constant number of them takes, None where the device's `Backend` wants
    none.

    As many as that says, or fewer, so that few of an epoch's are left to another program.
    """
    most = backend().steps_at_once
    if most is None or steps_per_epoch <= most:
        return None if most is None else steps_per_epoch
    return min(range(most, most // 4, -1), key=lambda steps: steps_per_epoch % steps)


def make_train_steps(objective, optimizer, num_images, *, replicates=False, num_steps=None):
    """Returns the compiled training call.

    **Arguments:** `objective`; `optimizer`: an optax transformation; `num_images`: N, of the training split;
    `replicates`: whether a state is R states, [devices, R, …], which train side by side in one program on the same
    data, each as it would alone, with the random numbers of its own key and with its own knobs, [devices, R, …];
    `num_steps`: a constant of the program, which then takes no other number.
    **Returns:** `train_steps(state, knobs, data, num_steps) -> state`, pmapped: `state` replicated and donated; `knobs`
    the objective's, replicated, traced, so that one program serves all runs that differ in them alone; `data` arrays
    [devices, N, …], the whole split on every device, as the objective's `training_loss` wants its rows; `num_steps` int
    [devices], traced, so that one program runs any number of steps within an epoch.
    """
    settings = objective.settings
    batch = settings.batch_size // jax.device_count()
    steps_per_epoch = num_images // settings.batch_size

    def one_step(state, knobs, data, order, packing):
        """Returns the next state. Both are packed."""
        base = jax.random.wrap_key_data(state.key)
        first = lax.axis_index(BATCH_AXIS) * batch
        start = state.step % steps_per_epoch * settings.batch_size + first
        rows = lax.dynamic_slice(order, (start,), (batch,))
        share = jax.tree.map(lambda array: array[rows], data)
        latent_keys, mask_keys = step_keys(base, state.step, batch, first)

        gradient = jax.grad(objective.training_loss, has_aux=True)
        weights = None if state.balance is None else state.balance.weights
        current = objective.training_knobs(knobs, state.step / steps_per_epoch, weights)
        old, old_stats = packing.params.unpack(state.params), packing.batch_stats.unpack(state.batch_stats)
        gradients, (batch_stats, terms) = gradient(old, old_stats, share, latent_keys, mask_keys, current)
        gradients = packing.params.pack(gradients)
        if jax.device_count() > 1:  # over one device the mean is a copy of every gradient
            gradients, terms = lax.pmean((gradients, terms), BATCH_AXIS)

        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
        params = packing.params.unpack(optax.apply_updates(state.params, updates))
        params, batch_stats = objective.after_update(old, params, batch_stats)
        params, batch_stats = packing.params.pack(params), packing.batch_stats.pack(batch_stats)
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
            metrics=jax.tree.map(
                lambda total, term: jnp.where(new_epoch, 0.0, total) + term, state.metrics, packing.metrics.pack(terms)
            ),
        )

    def _moving_average(state, params, batch_stats):
        if state.average is None:
            return None
        # Early on the average follows closely, so that it soon forgets the random start.
        decay = jnp.minimum(settings.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        new = {"params": params, "batch_stats": batch_stats}
        return jax.tree.map(lambda old, value: decay * old + (1.0 - decay) * value, state.average, new)

    def train_steps(state, knobs, data, traced):
        order = epoch_order(jax.random.wrap_key_data(state.key), state.step // steps_per_epoch, num_images)
        number, packing = traced if num_steps is None else num_steps, StatePacking(state)
        state = lax.fori_loop(0, number, lambda _, s: one_step(s, knobs, data, order, packing), packing.pack(state))
        return packing.unpack(state)

    if replicates:
        train_steps = jax.vmap(train_steps, in_axes=(0, 0, None, None))
    return jax.pmap(train_steps, axis_name=BATCH_AXIS, donate_argnums=0)


class TrainingProgram:
    """`make_train_steps` compiled for states and data of one shape, with knobs and data on the devices.

    Twice where the device's `Backend` has a number of steps at once: for these, and, where an epoch has more or
    something asks for fewer, for any number.

    **Arguments:** `objective`; `state`, `knobs`: on the devices, replicated, with a row for each replica where there
    are `replicates`; `data`: host arrays [N, …], the training split.
    **Attributes:** `compiled`: what most steps are taken by.
    """

    def __init__(self, objective, state, knobs, data, *, replicates=False):
        num_images = len(jax.tree.leaves(data)[0])
        steps_per_epoch = num_images // objective.settings.batch_size
        optimizer = make_optimizer(objective.settings, steps_per_epoch)
        self._knobs, self._data = knobs, replicate(data)

        def compiled(num_steps, state):  # with the state itself: pmap of several processes takes no shapes
            steps = make_train_steps(objective, optimizer, num_images, replicates=replicates, num_steps=num_steps)
            lowered = steps.lower(state, self._knobs, self._data, per_device(1))
            return lowered.compile(compiler_options=environment.compiler_options(backend().options) or None)

        self._at_once = steps_at_once(steps_per_epoch)
        self._compile = compiled
        self.compiled, self._any_number = compiled(self._at_once, state), None
        if self._at_once is not None and steps_per_epoch % self._at_once:
            self._any_number = compiled(None, state)

    def __call__(self, state, num_steps):
        """State on the devices → the state so many steps later; the first is donated."""
        if self._at_once is None:
            return self._run(self.compiled, state, num_steps)
        for _ in range(num_steps // self._at_once):
            state = self._run(self.compiled, state, self._at_once)
        left = num_steps % self._at_once
        if left and self._any_number is None:
            self._any_number = self._compile(None, state)
        return self._run(self._any_number, state, left) if left else state

    def _run(self, program, state, num_steps):
        return program(state, self._knobs, self._data, per_device(num_steps))

    def whole_calls(self, num_steps):
        """So many steps or somewhat more, by the first program alone."""
        return num_steps if self._at_once is None else -(-num_steps // self._at_once) * self._at_once

    def advance(self, state, num_steps):
        """Returns the same from host state to host state."""
        return first_copy(self(replicate(state), num_steps))

    @property
    def working_bytes(self):
        """What the program needs on a device beside its arguments; None where that is not known."""
        memory = self.compiled.memory_analysis()
        return None if memory is None else memory.temp_size_in_bytes


def per_device(number):
    return shard(np.full((jax.device_count(),), number, np.int32))
