"""Programs that take turns, so that their times compare while the machine's speed drifts.

That drift is of tens of per cent within minutes. So all that is compared is compiled first and then timed in turns,
round after round; a ratio is taken within a round, and its median over the rounds is the result.
"""

import math
import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax


class Program:
    """**Arguments:** `run(num)`: does the work `num` times and waits for it; `compile_seconds`: what it took;
    `multiple`: one of `run`'s times is so many repetitions."""

    def __init__(self, run, compile_seconds=0.0, *, multiple=1):
        self._run = run
        self.compile_seconds = compile_seconds
        self._multiple = multiple

    def seconds(self, num):
        """Measures the time of one repetition, of `num` of them or a few more."""
        times = math.ceil(num / self._multiple)
        start = time.perf_counter()
        self._run(times)
        return (time.perf_counter() - start) / (times * self._multiple)


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


def _number(program, seconds):
    """How many repetitions take about so long. Longer and longer calls, as short ones say little."""
    program.seconds(1)  # a warm-up
    number, once = 1, program.seconds(1)
    while number * once < seconds / 4:
        number = max(2 * number, round(seconds / 4 / max(once, 1e-9) / 4))
        once = program.seconds(number)
    return max(1, round(seconds / once))


def ratio(numerators, denominators):
    """Returns of paired figures, one a round: {"median", "least", "greatest"}."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}


# --------------------------------------------------------------------------------------------- a function as a program


def recurrence(function, start, operands):
    """Makes a program that runs a function many times within one call, so that no call's overhead is counted.

    **Arguments:** `function(number, results, operands) -> results`: pytrees of arrays; gets what it returned the time
    before, and `number` counts the times. What depends on neither, XLA may compute once for all of them. `start`: the
    first results, given away.
    **Returns:** a `Program` for `take_turns`.
    """
    # On a GPU the host is asked, in some 20 microseconds, whether a loop of unknown length goes on. Then the loop runs
    # over another one whose length is known.
    known = 1 if jax.default_backend() == "cpu" else 32

    def loop(num, results, operands):
        def one(number, results):
            return function(number, results, operands)

        def many(number, results):
            return lax.fori_loop(0, known, lambda inner, results: one(known * number + inner, results), results)

        return lax.fori_loop(0, num, one if known == 1 else many, results)

    began, results = time.perf_counter(), start
    compiled = jax.jit(loop, donate_argnums=1).lower(1, start, operands).compile()
    compile_seconds = time.perf_counter() - began

    def run(num):
        nonlocal results
        results = jax.block_until_ready(compiled(num, results, operands))

    return Program(run, compile_seconds, multiple=known)


def repeated(function, varying, fixed=()):
    """Makes a `recurrence` for a function that has nothing of the kind.

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
    """Returns the arrays `varying`, but computed from `results`, of which some are float."""
    floats = [leaf for leaf in jax.tree.leaves(results) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    nothing = 1e-30 * floats[0].reshape(-1)[0].astype(jnp.float32)

    def nudge(leaf):
        return leaf + nothing.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(nudge, varying)
