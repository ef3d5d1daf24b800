"""One layer of both stacks of the Gated PixelCNN (van den Oord et al. 2016, figure 2).

A layer looks back only: `reach` rows up (vertical stack), `reach` columns to the left (horizontal stack). So it works
on *windows*, some new rows or columns behind the `reach` that came before them, and gives what belongs to the new ones.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.ops.convolution import conv2d


class GatedLayer(nn.Module):
    """
    **Arguments:** `hidden_dim`: C, channels of both stacks; `kernel_size`: odd; `residual`: whether the horizontal
    stack's input is added to its output; `last`: the horizontal stack ends here, with skip features alone;
    `num_classes`: of the labels, 0 for none; `dropout`: rate, of the gated activations.
    """

    hidden_dim: int
    kernel_size: int
    residual: bool = True
    last: bool = False
    num_classes: int = 0
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @property
    def reach(self):
        """Returns how many rows and columns a kernel looks back; also to the right, in the rows above."""
        return self.kernel_size // 2

    def setup(self):
        features, taps = self.hidden_dim, self.reach + 1
        # A gated unit near zero passes on half of what it gets, so twice the usual deviation.
        init = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
        self.vertical_kernel = self.param("vertical_kernel", init, (taps, self.kernel_size, features, 2 * features))
        self.vertical_bias = self.param("vertical_bias", nn.initializers.zeros_init(), (2 * features,))
        self.horizontal_kernel = self.param("horizontal_kernel", init, (1, taps, features, 2 * features))
        self.down = nn.Dense(2 * features, dtype=self.dtype)
        self.out = nn.Dense(features if self.last else 2 * features, dtype=self.dtype)
        self.context = nn.Dense(4 * features, use_bias=False, dtype=self.dtype)
        if self.num_classes:
            self.label = nn.Dense(4 * features, use_bias=False, dtype=self.dtype)

    def vertical(self, window, context=None, labels=None, keys=None):
        """Computes the vertical stack's share: r new rows, which see whole rows.

        **Arguments:** `window`: [B, reach + r, w, C]; `context`: [B, r, w, E]; `labels`: int [B]; `keys`: for dropout.
        **Returns:** the stack's output [B, r, w, C], and what the horizontal stack's gates get from these rows and from
        the conditions [B, r, w, 2C].
        """
        gates = self._conv(window, self.vertical_kernel, self.reach) + self.vertical_bias.astype(self.dtype)
        conditions = [jnp.split(condition, 2, axis=-1) for condition in self._conditions(context, labels)]
        gates = sum((vertical for vertical, _ in conditions), start=gates)
        across = sum((horizontal for _, horizontal in conditions), start=self.down(gates))
        return self._gated(gates, keys, 0), across

    def horizontal(self, window, across, keys=None):
        """Computes the horizontal stack's share: n new columns, which see the columns to their left in their own row.

        **Arguments:** `window`: [B, r, reach + n, C]; `across`: from `vertical`, [B, r, n, 2C].
        **Returns:** the stack's output [B, r, n, C], None from the last layer, and the skip features [B, r, n, C].
        """
        gated = self._gated(self._conv(window, self.horizontal_kernel, 0) + across, keys, 1)
        if self.last:
            return None, self.out(gated)
        out, skip = jnp.split(self.out(gated), 2, axis=-1)
        return out + window[:, :, self.reach :] if self.residual else out, skip

    def _conv(self, window, kernel, sides):
        return conv2d(window, kernel.astype(self.dtype), padding=((0, 0), (sides, sides)))

    def _conditions(self, context, labels):
        """What is added to the gates of both stacks, each [B, …, 4C]."""
        if context is not None:
            yield self.context(context.astype(self.dtype))
        if labels is not None:
            yield self.label(jax.nn.one_hot(labels, self.num_classes, dtype=self.dtype))[:, None, None]

    def _gated(self, gates, keys, stack):
        a, b = jnp.split(gates, 2, axis=-1)
        gated = jnp.tanh(a) * nn.sigmoid(b)
        if keys is None or self.dropout == 0:
            return gated

        def drop(key, gated):
            kept = jax.random.bernoulli(jax.random.fold_in(key, stack), 1 - self.dropout, gated.shape)
            return jnp.where(kept, gated / (1 - self.dropout), 0).astype(gated.dtype)

        return jax.vmap(drop)(keys, gated)
