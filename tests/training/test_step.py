"""The compiled steps against a training loop written by hand, one step at a time, outside of pmap."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtvae_jax.balancing import softadapt
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.process.devices import first_copy, replicate, shard
from mtvae_jax.randomness import Purpose, image_keys
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import init_state, make_train_steps

BATCH, NUM_IMAGES = 32, 100  # three steps an epoch, four images left out of each


def start(config, axis_name):
    objective = Objective(build_model(config, (28, 28, 1), axis_name=axis_name), config, (28, 28, 1))
    optimizer = make_optimizer(config.train, NUM_IMAGES // BATCH)
    return objective, optimizer, init_state(objective, optimizer)


def compiled_steps(config, images, calls):
    objective, optimizer, state = start(config, "batch")
    train_steps = make_train_steps(objective, optimizer, NUM_IMAGES)
    state, knobs, data = replicate(state), replicate(objective.knobs), replicate({"images": images})
    for num_steps in calls:
        state = train_steps(state, knobs, data, shard(np.full(1, num_steps, np.int32)))
    return first_copy(state)


def hand_written_steps(config, images, num_steps):
    """Returns parameters, batch statistics, the moving average, and each step's loss."""
    objective, optimizer, state = start(config, None)
    params, batch_stats, optimizer_state = state.params, state.batch_stats, state.optimizer_state
    average = {"params": params, "batch_stats": batch_stats}
    gradient = jax.jit(jax.value_and_grad(objective.training_loss, has_aux=True))
    key, losses = jax.random.key(config.seed), []
    for step in range(num_steps):
        epoch, place = divmod(step, NUM_IMAGES // BATCH)
        shuffle = jax.random.fold_in(jax.random.fold_in(key, Purpose.SHUFFLE), epoch)
        chosen = jax.random.permutation(shuffle, NUM_IMAGES)[place * BATCH : (place + 1) * BATCH]
        keys = [
            image_keys(jax.random.fold_in(jax.random.fold_in(key, purpose), step), BATCH)
            for purpose in (Purpose.LATENT, Purpose.MASK)
        ]
        batch = {"images": jnp.asarray(images[np.asarray(chosen)])}
        (loss, (batch_stats, _)), gradients = gradient(params, batch_stats, batch, *keys)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        decay = min(config.train.ema_decay or 0.0, (1 + step) / (10 + step))
        new = {"params": params, "batch_stats": batch_stats}
        average = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, average, new)
        losses.append(float(loss))
    return params, batch_stats, average, losses


def assert_close(found, expected):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        scale = max(float(np.abs(b).max()), 1e-2)
        np.testing.assert_allclose(a, b, atol=2e-3 * scale, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("calls", [(3, 2), (1, 2, 1, 1)], ids=str)  # a call stays within an epoch
def test_compiled_steps_equal_steps_by_hand(calls, make_run, digits):
    config = make_run("single_decoder", train__ema_decay=0.9, train__batch_size=BATCH)
    images = digits[:NUM_IMAGES]
    state = compiled_steps(config, images, calls)
    params, batch_stats, average, losses = hand_written_steps(config, images, 5)
    assert_close(state.params, params)
    assert_close(state.batch_stats, batch_stats)
    assert_close(state.average, average)
    assert state.step == 5
    # The sums of the terms are those of the epoch under way: its first two steps.
    assert float(state.metrics["loss"]) == pytest.approx(sum(losses[3:]), rel=1e-3)


def test_evaluation_uses_the_average_where_there_is_one(make_run):
    *_, plain = start(make_run("plain"), None)
    *_, averaged = start(make_run("plain", train__ema_decay=0.9), None)
    assert plain.average is None
    assert plain.eval_variables == {"params": plain.params, "batch_stats": plain.batch_stats}
    assert averaged.eval_variables is averaged.average


OTHERS = {  # what runs of one program may differ in
    "gaussian": {
        "loss__weights": (0.4,),
        "loss__beta": 0.02,
        "loss__kl_warmup_epochs": 2.0,
        "conditioning__exponent": 3.0,
    },
    "vq": {"loss__weights": (2.0, 0.5), "loss__beta": 1.5},
}


BALANCING = {
    "loss__balancing": "softadapt",
    "loss__softadapt_every": 1,
    "loss__softadapt_window": 2,
    "loss__softadapt_variant": "loss_weighted",
}


def test_softadapt_weighs_each_step_by_the_parts_before_it(make_run, digits):
    settings = {"loss__weights": (0.7, 1.9), "loss__beta": 0.03, "loss__kl_warmup_epochs": 2.0}
    config = make_run("multi_decoder", train__batch_size=BATCH, **BALANCING | settings)
    names = ["latent", "reconstruction", "reconstruction_conditioned"]
    sums, history = [], []
    for steps in range(1, 4):  # the sums of an epoch, up to each of its steps
        metrics = compiled_steps(config, digits[:NUM_IMAGES], [steps]).metrics
        sums.append({name: float(value) for name, value in metrics.items()})
    for step, (before, after) in enumerate(zip([dict.fromkeys(sums[0], 0.0), *sums], sums, strict=False)):
        terms = {name: after[name] - before[name] for name in after}
        expected = np.full(3, 1 / 3)
        if step >= 2:
            expected = np.asarray(softadapt(np.array(history[-2:]).T, variant="loss_weighted"))
        np.testing.assert_allclose([terms[f"weight_{name}"] for name in names], expected, rtol=1e-3)
        parts = [0.03 * terms["kl"], *(terms[name] for name in names[1:])]
        user = [min(step / 3 / 2.0, 1.0), 0.7, 1.9]
        assert terms["loss"] == pytest.approx(sum(np.float64(expected) * user * parts), rel=1e-3)
        history.append(parts)


@pytest.mark.parametrize(("latent", "method"), [("gaussian", "single_decoder"), ("vq", "multi_decoder")])
def test_replicates_train_as_each_would_alone(latent, method, make_run, digits):
    images = digits[:NUM_IMAGES]
    balancing = BALANCING if latent == "gaussian" else {}
    configs = [make_run(method, latent, **balancing), make_run(method, latent, **balancing | OTHERS[latent])]
    configs[1].seed = 5
    alone = [compiled_steps(config, images, [4]) for config in configs]
    objectives, optimizers, states = zip(*(start(config, "batch") for config in configs), strict=True)
    trees = states, [objective.knobs for objective in objectives]
    state, knobs = (jax.tree.map(lambda *leaves: np.stack(leaves), *tree) for tree in trees)
    train_steps = make_train_steps(objectives[0], optimizers[0], NUM_IMAGES, replicates=True)
    together = first_copy(
        train_steps(
            replicate(state), replicate(knobs), replicate({"images": images}), shard(np.full(1, 4, np.int32))
        )
    )
    assert together.step.tolist() == [4, 4]
    for number, one in enumerate(alone):
        found = jax.tree.map(lambda leaf, n=number: leaf[n], together)
        for name in ("params", "batch_stats", "metrics"):
            pairs = zip(*(jax.tree.leaves(getattr(state, name)) for state in (found, one)), strict=True)
            apart = np.concatenate([np.ravel(np.abs(a - b) / max(np.abs(b).max(), 1.0)) for a, b in pairs])
            # Another order of summing, which Adam's first steps make much of where a gradient is nearly nothing: up to
            # the learning rate each. On one core the largest of 357,482 is 0.0023.
            assert apart.max() < 4e-3
            assert apart.mean() < 2e-5
    different = max(jax.tree.leaves(together.params), key=np.size)
    assert np.abs(different[0] - different[1]).max() > 1e-3


@pytest.mark.parametrize(("latent", "method"), [("gaussian", "single_decoder"), ("vq", "multi_decoder")])
def test_runs_that_differ_in_knobs_alone_share_their_programs(latent, method, make_run):
    """Training, evaluation and error by count, letter by letter: so one compilation serves them all."""

    def programs(config):
        objective, optimizer, state = start(config, "batch")
        data = {"images": np.zeros((NUM_IMAGES, 28, 28, 1), np.uint8)}
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((jax.device_count(), *np.shape(leaf)), leaf.dtype),
            (state, objective.knobs, data, np.int32(1)),
        )
        yield make_train_steps(objective, optimizer, NUM_IMAGES).lower(*shapes).as_text()
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        keys, rows = image_keys(jax.random.key(0), 8), {"images": data["images"][:8]}
        given = variables, rows, keys, keys, objective.knobs
        yield jax.jit(objective.evaluation_terms).lower(*given).as_text()
        yield jax.jit(objective.conditioned_error).lower(*given, 3).as_text()

    one, other = make_run(method, latent), make_run(method, latent, **OTHERS[latent])
    other.seed = 5
    assert list(programs(one)) == list(programs(other))
    third = make_run(method, latent, train__learning_rate=0.5)
    assert next(programs(one)) != next(programs(third)), "this test does not see constants"
