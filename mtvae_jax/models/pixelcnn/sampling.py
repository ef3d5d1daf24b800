"""Samples of a Gated PixelCNN, position by position in raster order.

A code is the argmax of logits + temperature · Gumbel noise, which is a draw from softmax(logits / temperature). The
noise of a position comes from the image's key and the position alone, whoever draws it.
"""

import jax
import jax.numpy as jnp
from jax import lax


def sample(network, keys, size, context, labels, temperature):
    """Draws codes row by row through the vertical stack, within a row column by column through the horizontal one.

    **Arguments:** `network`: a bound `GatedPixelCNN`; the others: as its `sample`.
    """
    height, width = size
    # Bound modules do not go through JAX's loops.
    network, variables = network.unbind()

    def call(method, *args):
        return network.apply(variables, *args, method=method)

    def draw_row(state, row):
        above, row_caches = state
        y, context = row
        across, row_caches = call("vertical_stack", above, row_caches, context, labels)
        noise = _noise(keys, y * width + jnp.arange(width), network.num_codes)

        def draw_column(state, column):
            left, column_caches = state
            across, noise = column
            logits, column_caches = call("horizontal_stack", left, column_caches, across)
            codes = _choose(logits[:, 0, 0], noise, temperature)
            embedded = call("embed", codes[:, None, None])
            return (embedded, column_caches), (codes, embedded)

        left = jnp.zeros_like(above[:, :, :1])
        columns = jax.tree.map(lambda x: _split(x, axis=2), across), noise
        _, (codes, embedded) = lax.scan(draw_column, (left, call("empty_columns", left)), columns)
        return (_join(embedded, axis=2), row_caches), codes.T

    above = jnp.zeros((keys.shape[0], 1, width, network.hidden_dim), network.dtype)
    rows = jnp.arange(height), None if context is None else _split(context, axis=1)
    _, codes = lax.scan(draw_row, (above, call("empty_rows", above)), rows)
    return jnp.moveaxis(codes, 0, 1)


def sample_plain(network, keys, size, context, labels, temperature):
    """Draws codes by the whole network for every position. Arguments as `sample`."""
    height, width = size
    network, variables = network.unbind()

    def draw(position, codes):
        logits = network.apply(variables, codes, context, labels)
        y, x = position // width, position % width
        noise = _noise(keys, position[None], network.num_codes)[0]
        return codes.at[:, y, x].set(_choose(logits[:, y, x], noise, temperature))

    return lax.fori_loop(0, height * width, draw, jnp.zeros((keys.shape[0], height, width), jnp.int32))


def _noise(keys, positions, num_codes):
    """Gumbel noise, float32 [P, B, K] of keys [B] and positions int [P] in raster order."""

    def draw(position, key):
        return jax.random.gumbel(jax.random.fold_in(key, position), (num_codes,))

    return jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(positions, keys)


def _choose(logits, noise, temperature):
    """Codes int32 [B] from logits and noise [B, K]."""
    return jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)


def _split(x, axis):
    """[…, n, …] → [n, …, 1, …]: slices along `axis`, for a loop over them."""
    return jnp.moveaxis(jnp.expand_dims(x, axis + 1), axis, 0)


def _join(slices, axis):
    """The inverse of `_split`."""
    return jnp.squeeze(jnp.moveaxis(slices, 0, axis), axis + 1)
