"""Programs that take turns: every repetition does its work, and every program has its turn in every round."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import turns
from benchmarks.turns import Program, depending_on, ratio, recurrence, repeated, take_turns


def test_a_recurrence_goes_on_from_call_to_call():
    seen = []
    program = recurrence(lambda number, x, step: x + step, jnp.zeros(3), jnp.ones(3))
    original = jax.block_until_ready
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns.jax, "block_until_ready", lambda x: seen.append(np.asarray(x)) or original(x))
        program.seconds(5)
        program.seconds(2)
    np.testing.assert_array_equal(seen, [[5.0] * 3, [7.0] * 3])


def test_on_gpus_loops_of_known_length_number_their_repetitions_alike(monkeypatch):
    monkeypatch.setattr(turns.jax, "default_backend", lambda: "gpu")
    seen, wait = [], jax.block_until_ready
    program = recurrence(lambda number, x, _: x.at[number].add(1), jnp.zeros(200, int), ())
    monkeypatch.setattr(turns.jax, "block_until_ready", lambda x: seen.append(np.asarray(x)) or wait(x))
    assert program.seconds(70) > 0
    np.testing.assert_array_equal(seen, [[1] * 96 + [0] * 104])


def test_nothing_that_repeats_is_computed_once_for_all():
    """In XLA's program the product stands within the loop."""
    texts = []
    original = jax.stages.Lowered.compile

    def compile_and_keep(lowered, *arguments):
        compiled = original(lowered, *arguments)
        texts.append(compiled.as_text())
        return compiled

    a = jnp.ones((64, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", compile_and_keep)
        repeated(lambda number, a, b: a @ b, a, a)
        recurrence(lambda number, x, operands: operands[0] @ operands[1], a + 0, (a, a))  # what must not happen
    blocks = ([block for block in text.split("\n\n") if re.search(r"\bdot\b|dot_", block)] for text in texts)
    repeating, hoisted = blocks
    assert not any("ENTRY" in block for block in repeating)
    assert any("ENTRY" in block for block in hoisted), "this test does not see what XLA moves out of a loop"


def test_depending_on_changes_no_value():
    arrays = {"x": jnp.linspace(0.0, 1.0, 5), "n": jnp.arange(3)}
    found = depending_on({"seen": jnp.full((2, 2), 7.0)}, arrays)
    for name, array in arrays.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-28)
        assert found[name].dtype == array.dtype


def test_turns_are_taken_forwards_and_backwards():
    order = []

    def program(name):
        return Program(lambda num: (order.append(name), time.sleep(0.001 * num)))

    times = take_turns({name: program(name) for name in "abc"}, rounds=3, seconds=0.01)
    assert order[-9:] == list("abccbaabc")
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys("abc", 3)
    assert min(min(seconds) for seconds in times.values()) >= 0.001


def test_ratios_are_taken_within_a_round():
    assert ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == {"median": 3.0, "least": 2.0, "greatest": 4.0}
