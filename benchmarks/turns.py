"""Programs of one process that take turns, so that their times compare while the machine's speed drifts."""

import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax


def recurrence(function, start, operands):
    """A program that runs a function many times within one call, so that no call's overhead is counted.

    **Arguments:** `function(number, results, operands) -> results`: pytrees of arrays; gets what it returned the time
    before, and `number` counts the times. What depends on neither, XLA may compute once for all of them. `start`: the
    first results, given away.
    **Returns:** a `Program` for `take_turns`.
    """

    def loop(num, results, operands):
        return lax.fori_loop(0, num, lambda number, results: function(number, results, operands), results)

    began, results = time.perf_counter(), start
    compiled = jax.jit(loop, donate_argnums=1).lower(1, start, operands).compile()
    compile_seconds = time.perf_counter() - began

    def run(num):
        nonlocal results
        results = jax.block_until_ready(compiled(num, results, operands))

    return Program(run, compile_seconds)


def repeated(function, varying, fixed=()):
    """`recurrence` for a function that has nothing of the kind.

    The float arrays of `varying` come to depend on the time before, so that whatever is computed from them is computed
    every time: they must reach all that the function does.

    **Arguments:** `function(number, varying, fixed) -> results`, some of them float.
    """
    shapes = jax.eval_shape(function, 0, varying, fixed)
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def once(number, results, operands):
        varying, fixed = operands
        return function(number, depending_on(results, varying), fixed)

    return recurrence(once, start, (varying, fixed))


def depending_on(results, varying):
    """The arrays `varying`, but computed from `results`, of which some are float."""
    floats = [leaf for leaf in jax.tree.leaves(results) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    nothing = 1e-30 * floats[0].reshape(-1)[0].astype(jnp.float32)

    def nudge(leaf):
        return leaf + nothing.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(nudge, varying)


class Program:
    """**Arguments:** `run(num)`: does the work so many times and waits for it; `compile_seconds`: what it took."""

    def __init__(self, run, compile_seconds=0.0):
        self._run = run
        self.compile_seconds = compile_seconds

    def seconds(self, num):
        """The time of one of `num` repetitions."""
        start = time.perf_counter()
        self._run(num)
        return (time.perf_counter() - start) / num


def take_turns(programs, *, rounds, seconds):
    """Times programs in turns of about so many seconds, forwards and backwards.

    **Arguments:** `programs`: name → `Program`. **Returns:** name → seconds a repetition, a list, one a round.
    """
    numbers = {name: _number(program, seconds) for name, program in programs.items()}
    times = {name: [] for name in programs}
    for turn in range(rounds):
        for name in programs if turn % 2 == 0 else reversed(programs):
            times[name].append(programs[name].seconds(numbers[name]))
    return times


def ratio(numerators, denominators):
    """Of paired figures, one a round: {"median", "least", "greatest"}."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}


def _number(program, seconds):
    """How many repetitions take about so long. Longer and longer calls, as short ones say little."""
    program.seconds(1)  # a warm-up
    number, once = 1, program.seconds(1)
    while number * once < seconds / 4:
        number = max(2 * number, round(seconds / 4 / max(once, 1e-9) / 4))
        once = program.seconds(number)
    return max(1, round(seconds / once))
