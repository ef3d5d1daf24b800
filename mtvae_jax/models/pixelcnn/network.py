"""The Gated PixelCNN: an autoregressive model of grids of codes (van den Oord et al. 2016; thesis 2.5.1)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from mtvae_jax.models.pixelcnn import sampling
from mtvae_jax.models.pixelcnn.layer import GatedLayer


class GatedPixelCNN(nn.Module):
    """p(codes | context, label) = Π p(code_i | codes before i, …) over the positions i in raster order.

    The vertical stack sees the rows above, the horizontal one what lies to the left, and hears the vertical one: all
    that came before, without a blind spot. Their inputs are moved down by a row, to the right by a column; behind that
    (the paper's mask A) plain convolutions that look back are causal, so no kernel needs a mask. A position sees
    `first_kernel_size` // 2 + 1 + (`num_layers` − 1) · (`kernel_size` // 2) rows up; columns to the left as many, and
    in the rows above one less to either side.

    **Arguments:** `num_codes`: K; `hidden_dim`: C, channels of both stacks; `num_layers`; `kernel_size`: odd, of all
    layers but the first; `first_kernel_size`: odd; `num_classes`: of the labels, 0 for a model without; `dropout`:
    rate, of the gated activations in training.
    """

    num_codes: int
    hidden_dim: int = 64
    num_layers: int = 10
    kernel_size: int = 3
    first_kernel_size: int = 7
    num_classes: int = 0
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        if not (self.kernel_size % 2 and self.first_kernel_size % 2):
            raise ValueError(f"kernel sizes {self.kernel_size}, {self.first_kernel_size}: must be odd")
        # One-hot rows times a table: unlike gathered ones, their gradients are summed in one order on every device.
        self.table = nn.Dense(
            self.hidden_dim, use_bias=False, kernel_init=nn.initializers.normal(1.0), dtype=self.dtype
        )
        self.layers = [
            GatedLayer(
                self.hidden_dim,
                self.kernel_size if layer else self.first_kernel_size,
                residual=layer > 0,
                last=layer == self.num_layers - 1,
                num_classes=self.num_classes,
                dropout=self.dropout,
                dtype=self.dtype,
            )
            for layer in range(self.num_layers)
        ]
        self.hidden = nn.Dense(self.hidden_dim, dtype=self.dtype)
        # Small, so that the first predictions are near uniform.
        near_zero = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        self.logits = nn.Dense(self.num_codes, kernel_init=near_zero, dtype=jnp.float32)

    def __call__(self, codes, context=None, labels=None, keys=None):
        """Logits float32 [B, h, w, K] of every position's code, given those before it.

        **Arguments:** `codes`: int [B, h, w]; `context`: float [B, h, w, E], features of what else is known at each
        position, or None; `labels`: int [B], exactly if there are classes; `keys`: typed keys [B] for dropout, None for
        none.
        """
        return self.from_embeddings(self.embed(codes), context, labels, keys)

    def sample(self, keys, size, context=None, labels=None, *, temperature=1.0):
        """Draws codes int32 [B, h, w] from the model, for about the price of one evaluation of the network.

        Image b depends on keys[b], and on its own context and label, alone: not on the batch that it is drawn in.

        **Arguments:** `keys`: typed keys [B]; `size`: (h, w); `context`, `labels`: as in a call; `temperature`: divides
        the logits, 0 for the likeliest code at every position; may be traced.
        """
        return sampling.sample(self, keys, size, context, labels, temperature)

    def sample_plain(self, keys, size, context=None, labels=None, *, temperature=1.0):
        """Draws the codes that `sample` does, apart from rounding, by one evaluation of the network a position."""
        return sampling.sample_plain(self, keys, size, context, labels, temperature)

    def embed(self, codes):
        """Turns codes int [...] into features [..., C]."""
        return self.table(jax.nn.one_hot(codes, self.num_codes, dtype=self.dtype))

    def from_embeddings(self, embedded, context=None, labels=None, keys=None):
        """Computes what a call does, from embedded codes float [B, h, w, C] on."""
        above, left = _moved(embedded, axis=1), _moved(embedded, axis=2)
        across, _ = self.vertical_stack(above, self.empty_rows(above), context, labels, keys)
        logits, _ = self.horizontal_stack(left, self.empty_columns(left), across, keys)
        return logits

    # Both stacks work on r rows or n columns at a time: all of them, with nothing before them, or one by one.

    def vertical_stack(self, above, caches, context=None, labels=None, keys=None):
        """
        **Arguments:** `above`: [B, r, w, C], the embedded rows that lie one row up; `caches`: every layer's inputs of
        the rows before, [B, reach, w, C] each; `context`: [B, r, w, E]; the others: as in a call.
        **Returns:** what goes to the horizontal stack's layers, [B, r, w, 2C] each, and the caches for the next row.
        """
        if (labels is not None) != (self.num_classes > 0):
            raise ValueError(f"labels: must be given exactly if there are classes; num_classes is {self.num_classes}")
        features, across, windows = above, [], []
        for index, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            windows.append(jnp.concatenate([cache, features], axis=1))
            features, layer_across = layer.vertical(windows[-1], context, labels, _layer_keys(keys, index))
            across.append(layer_across)
        return across, [window[:, above.shape[1] :] for window in windows]

    def horizontal_stack(self, left, caches, across, keys=None):
        """
        **Arguments:** `left`: [B, r, n, C], the embedded codes that lie one column to the left; `caches`: every
        layer's inputs of the columns before, [B, r, reach, C] each; `across`: from `vertical_stack`.
        **Returns:** logits float32 [B, r, n, K], and the caches for the next column.
        """
        features, skips, windows = left, 0.0, []
        for index, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            windows.append(jnp.concatenate([cache, features], axis=2))
            features, skip = layer.horizontal(windows[-1], across[index], _layer_keys(keys, index))
            skips = skips + skip
        logits = self.logits(nn.relu(self.hidden(nn.relu(skips))))
        return logits, [window[:, :, left.shape[2] :] for window in windows]

    def empty_rows(self, rows):
        """Caches for the first of the rows [B, r, w, C]: nothing lies above it."""
        batch, _, width, features = rows.shape
        return [jnp.zeros((batch, layer.reach, width, features), rows.dtype) for layer in self.layers]

    def empty_columns(self, columns):
        """Caches for the first of the columns [B, r, n, C]: nothing lies to its left."""
        batch, rows, _, features = columns.shape
        return [jnp.zeros((batch, rows, layer.reach, features), columns.dtype) for layer in self.layers]


def _moved(x, axis):
    """x one step on along `axis`, zeros first: every place gets what its predecessor had."""
    zeros = jnp.zeros_like(lax.slice_in_dim(x, 0, 1, axis=axis))
    return jnp.concatenate([zeros, lax.slice_in_dim(x, 0, x.shape[axis] - 1, axis=axis)], axis=axis)


def _layer_keys(keys, index):
    return None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, index)
