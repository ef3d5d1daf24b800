"""What must not come back into the training step, on any machine: a retrace, the host, a sort, more arithmetic."""

import contextlib
import functools
import importlib.util
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from small_runs import ROOT, small_config

from benchmarks.models import thesis_model
from benchmarks.program_cost import step_flops, steps_and_arguments
from mtvae_jax.conditioning import SAMPLINGS, condition, draw_masks
from mtvae_jax.config import LATENTS, check, resolve
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.process.devices import replicate, shard
from mtvae_jax.randomness import image_keys
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import init_state, make_train_steps

SHAPE = (28, 28, 1)

# Every way to draw masks, of a number of pixels that is given and of one that is drawn: method, sampling, replacement.
MASKS = [
    (method, sampling, replacement)
    for method in ("multi_decoder", "single_decoder")
    for sampling, replacement in [*((name, True) for name in SAMPLINGS), ("gaussian", False)]
    if not SAMPLINGS[sampling].fixed_grid or METHODS[method].counts == "constant"
]


# ---------------------------------------------------------------------------------------------------- what a call does


@pytest.fixture(scope="module")
def trained(make_run, digits):
    """Objective, the compiled steps after their first call, their state and data, and an evaluation after its first."""
    config = make_run("multi_decoder", "vq", conditioning__sampling="uniform", model__codebook_restart=0.1)
    objective = Objective(build_model(config, SHAPE), config, SHAPE)
    train_steps = make_train_steps(objective, make_optimizer(config.train, 3), 100)
    state = replicate(init_state(objective, make_optimizer(config.train, 3)))
    knobs, data = replicate(objective.knobs), replicate({"images": digits[:100]})
    with compilations() as events:
        state = train_steps(state, knobs, data, number(1))
    assert events, "this test does not see compilations"
    evaluate = Evaluator(objective)
    split = evaluate.place({"images": digits[:40]})
    evaluate(state.eval_variables, split)
    return train_steps, state, knobs, data, evaluate, split


def number(steps):
    return shard(np.full((jax.device_count(),), steps, np.int32))


@contextlib.contextmanager
def compilations():
    """The list of everything that is traced, lowered or compiled within."""
    events, listening = [], True

    def listen(event, _, **details):
        if listening and event.startswith("/jax/core/compile/"):
            events.append((event, details))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        listening = False


def test_nothing_compiles_after_the_first_call(trained):
    train_steps, state, knobs, data, evaluate, split = trained
    state = jax.tree.map(jnp.copy, state)
    numbers = [number(steps) for steps in (2, 1, 3)]  # to the end of an epoch, into the next
    with compilations() as events:
        for steps in numbers:
            state = train_steps(state, knobs, data, steps)
            evaluate(state.eval_variables, split)
    assert events == []


def test_the_host_is_left_alone_between_calls(trained):
    train_steps, state, knobs, data, *_ = trained
    state, numbers = jax.tree.map(jnp.copy, state), [number(2), number(1)]
    with jax.transfer_guard("disallow_explicit"):
        for steps in numbers:
            state = train_steps(state, knobs, data, steps)
    assert int(state.step[0]) == 4


# ----------------------------------------------------------------------------------------------- what the program holds


def inner_jaxprs(equation):
    for value in equation.params.values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            if isinstance(inner, ClosedJaxpr):
                yield inner.jaxpr
            elif isinstance(inner, Jaxpr):
                yield inner


def equations(jaxpr, loops=0, times=1, trips=1):
    """All equations of a program: (equation, loops around it, how often it runs).

    **Arguments:** `trips`: of loops that end by a condition.
    """
    for equation in jaxpr.eqns:
        yield equation, loops, times
        name = equation.primitive.name
        repeats = {"scan": equation.params.get("length"), "while": trips}.get(name, 1)
        for inner in inner_jaxprs(equation):
            yield from equations(inner, loops + (name in ("scan", "while")), times * repeats, trips)


def step_program(latent, method, sampling="exact", replacement=True):
    config = small_config(
        method, latent=latent, conditioning__sampling=sampling, conditioning__replacement=replacement
    )
    if latent == "vq":
        config.model.codebook_ema, config.model.codebook_restart = 0.9, 0.1
    train_steps, arguments = steps_and_arguments(resolve(config, SHAPE), SHAPE)
    return train_steps, arguments, jax.make_jaxpr(train_steps)(*arguments).jaxpr


CASES = [("gaussian", *case) for case in MASKS]
CASES += [(latent, "plain", "exact", True) for latent in LATENTS] + [("vq", "multi_decoder", "uniform", True)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_step_sorts_nothing_and_calls_nobody(case):
    train_steps, arguments, jaxpr = step_program(*case)
    found = [(equation.primitive.name, loops) for equation, loops, _ in equations(jaxpr)]
    assert any(loops and name == "dot_general" for name, loops in found), "this test does not see the steps' loop"

    # Neither the exact grid nor uniform nor Gaussian masks need to sort; the epoch's permutation does, before the loop.
    sorts = [loops for name, loops in found if name in ("sort", "top_k", "approx_top_k")]
    permutation = jax.make_jaxpr(lambda key: jax.random.permutation(key, 32))(jax.random.key(0)).jaxpr
    allowed = sum(equation.primitive.name == "sort" for equation, *_ in equations(permutation))
    assert allowed > 0
    assert sorts == [0] * allowed

    host = re.compile("callback|infeed|outfeed|debug_print|host_")
    assert not [name for name, _ in found if host.search(name)]
    text = train_steps.lower(*arguments).as_text()
    assert not re.findall(r"\w*callback\w*|infeed|outfeed|stablehlo\.send|stablehlo\.recv", text)


# ------------------------------------------------------------------------------------------------------- what it costs

# Millions an image of 28×28×1, a training step, by XLA's count. A change of more than a twentieth is an accident, or
# wants a new figure here: `python -m benchmarks.program_cost`. Plain and semi-conditional models are parts of these.
MFLOPS = {
    "gauss_multi": 47.5,
    "gauss_single": 37.9,
    "vq_multi": 113.5,
    "vq_single": 92.0,
    "vq_cifar10_published": 172.1,
    "fsq_multi": 88.5,
}


@pytest.mark.parametrize("name", MFLOPS)
def test_arithmetic_of_a_step_has_not_grown(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("mnist_sample")
    check(config)
    assert step_flops(resolve(config, SHAPE), SHAPE) / 1e6 == pytest.approx(MFLOPS[name], rel=0.05)


# Threefry spends 115 operations on two words of 32 bits.
_OPERATIONS_OF_A_RANDOM_WORD = 60
# Gaussian draws come in chunks, and the image with the most draws needs about so many.
_CHUNKS = 4


@functools.cache
def flops_of_the_cheapest_model():
    return step_flops(thesis_model("gaussian", "semi_conditional", SHAPE), SHAPE)


@pytest.mark.parametrize("case", MASKS, ids=lambda case: "-".join(map(str, case)))
def test_masks_are_a_small_part_of_the_arithmetic(case):
    method, sampling, replacement = case
    settings = {"conditioning__sampling": sampling, "conditioning__replacement": replacement}
    config = thesis_model("gaussian", method, SHAPE, **settings)
    batch = 8

    def masks_and_m(key, images):
        return condition(images, draw_masks(config, image_keys(key, batch), *SHAPE[:2]))

    jaxpr = jax.make_jaxpr(masks_and_m)(jax.random.key(0), jnp.zeros((batch, *SHAPE))).jaxpr
    operations = 0
    for equation, _, times in equations(jaxpr, trips=_CHUNKS):
        if not list(inner_jaxprs(equation)):
            elements = max(math.prod(var.aval.shape) for var in [*equation.invars, *equation.outvars])
            weight = _OPERATIONS_OF_A_RANDOM_WORD if equation.primitive.name == "random_bits" else 1
            operations += times * weight * elements
    assert operations / batch < 0.01 * flops_of_the_cheapest_model()
