"""How much each part of a loss counts, from how fast it falls: SoftAdapt (Heydari et al. 2019; thesis 2.4, 3.2.2)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

VARIANTS = ("original", "normalized", "loss_weighted")
SLOPES = ("least_squares", "released")

# Of the released normalisation, whose sum of slopes may well be nothing.
_RELEASED_EPSILON = 1e-8


def softadapt(history, *, beta=0.1, variant="original", slope="least_squares"):
    """Weights for the parts of a loss: of two parts the one that falls more slowly, or rises, counts more.

    With s the slope of each part and f its mean over the history, the weights are, up to their sum,

        original        exp(β s)
        normalized      exp(β s / Σ|s|), which does not depend on the scale of the loss
        loss_weighted   f · exp(β s), so that small parts count less

    The slope is that of the least-squares line. Heydari et al.'s released code takes instead the slope at the *oldest*
    value of the polynomial through all of them (their finite differences), and normalises by Σs, signs and all, with
    which the part that falls fastest can count most: `slope="released"` does both.

    **Arguments:** `history`: float [parts, n], newest last, one step apart; NaN where there is no value yet;
    `beta`: above 0 favours parts that fall slowly, below 0 those that fall fast; `variant`: one of `VARIANTS`;
    `slope`: one of `SLOPES`.
    **Returns:** float32 [parts], of sum 1, outside of the gradient. Equal weights while the history is not full, or
    shorter than the two values that make a slope.
    **Raises:** `ValueError` for another `variant` or `slope`.
    """
    if variant not in VARIANTS or slope not in SLOPES:
        raise ValueError(f"softadapt: variant = {variant!r}, slope = {slope!r}: must be of {VARIANTS} and {SLOPES}")
    history = lax.stop_gradient(jnp.asarray(history, jnp.float32))
    num_parts, length = history.shape
    equal = jnp.full((num_parts,), 1.0 / num_parts)
    if length < 2:
        return equal
    released, tiny = slope == "released", jnp.finfo(jnp.float32).tiny
    coefficients = _at_the_oldest(length) if released else _least_squares(length)
    # Of differences, because slopes may be small beside the values.
    slopes = jnp.sum((history - history[:, -1:]) * coefficients, axis=1)
    if variant == "normalized":
        total = jnp.sum(slopes) + _RELEASED_EPSILON if released else jnp.maximum(jnp.sum(jnp.abs(slopes)), tiny)
        slopes = slopes / total
    # Before the multiplication: fused with what softmax subtracts, it would round large exponents above 0.
    exponents = beta * (slopes - slopes[jnp.argmax(beta * slopes)])
    if variant == "loss_weighted":
        exponents += jnp.log(jnp.maximum(jnp.mean(history, axis=1), tiny))
    return jnp.where(jnp.any(jnp.isnan(history)), equal, jax.nn.softmax(exponents))


def _least_squares(length):
    """float32 [n]: Σ c_k f_k is the slope of the line through f_0 … f_{n−1} that leaves the least squares."""
    place = np.arange(length) - (length - 1) / 2
    return np.float32(place / np.sum(place**2))


def _at_the_oldest(length):
    """float32 [n]: Σ c_k f_k is the derivative at f_0 of the polynomial through f_0 … f_{n−1}: forward differences."""
    order = length - 1
    later = [(-1) ** (k + 1) * math.comb(order, k) / k for k in range(1, length)]
    return np.float32([-sum(later), *later])


class Balance(NamedTuple):
    """**history**: float [parts, window], newest last; **sums**: [parts], since the last entry; **weights**: [parts],
    in force."""

    history: jax.Array
    sums: jax.Array
    weights: jax.Array


class SoftAdapt(NamedTuple):
    """How weights follow a training: every `every` steps the mean of each part over them becomes the newest of `window`
    entries, and the weights are worked out anew. **variant**, **slope**, **beta**: as `softadapt` has them."""

    variant: str = "original"
    slope: str = "least_squares"
    beta: float = 0.1
    window: int = 5
    every: int = 50

    def start(self, num_parts):
        """Returns the `Balance` before the first step."""
        history = jnp.full((num_parts, self.window), jnp.nan)
        return Balance(history, jnp.zeros((num_parts,)), jnp.full((num_parts,), 1.0 / num_parts))

    def follow(self, balance, parts, step):
        """Returns the `Balance` after a step.

        **Arguments:** `parts`: float [parts], of that step's loss; `step`: how many there were before it.
        """
        sums = balance.sums + parts
        history = jnp.concatenate([balance.history[:, 1:], sums[:, None] / self.every], axis=1)
        weights = softadapt(history, beta=self.beta, variant=self.variant, slope=self.slope)
        renewed, held = Balance(history, jnp.zeros_like(sums), weights), balance._replace(sums=sums)
        return jax.tree.map(lambda new, old: jnp.where((step + 1) % self.every == 0, new, old), renewed, held)
