"""What the second stage learns: priors over the latent of a frozen model, p(z) and p(z|m) (thesis 2.2.2, 2.5.1).

A prior is a Flax module with

    nats(posterior, m, labels, keys, train) -> float32 [B]    what the posterior costs under the prior, an image
    sample(keys, m, labels) -> what the model decodes          codes int32 [B, h, w], or z float32 [B, Z]

`m` is float [B, H, W, C+1], all zero where nothing is revealed, or None for a prior that sees no pixels.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from mtvae_jax.config import is_quantised
from mtvae_jax.losses import gaussian_kl_to
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.models.pixelcnn import GatedPixelCNN

# Residual layers after those of stride 2 let every position see revealed pixels from far away.
_CONTEXT_RESIDUAL_LAYERS = 3


def build_prior(config, image_shape, grid, num_classes, *, axis_name=BATCH_AXIS):
    """The prior that a resolved config describes.

    **Arguments:** `grid`: (h, w) of the codes; `num_classes`: of the labels, 0 for a prior that sees none;
    `axis_name`: as in `build_model`.
    """
    settings = config.prior
    common = {"dtype": jnp.dtype(settings.precision), "axis_name": axis_name}
    encoder = None
    if settings.unconditional < 1:
        encoder = Encoder(
            tuple(config.model.hidden_dims),
            residual_layers=_CONTEXT_RESIDUAL_LAYERS if is_quantised(config.model.latent) else 0,
            residual_dim=settings.hidden_dim,
            **common,
        )
    if not is_quantised(config.model.latent):
        return GaussianPrior(encoder, config.model.latent_dim, settings.hidden_dim, common["dtype"])
    pixelcnn = GatedPixelCNN(
        num_codes=config.model.codebook_size,
        hidden_dim=settings.hidden_dim,
        num_layers=settings.num_layers,
        kernel_size=settings.kernel_size,
        first_kernel_size=settings.first_kernel_size,
        num_classes=num_classes,
        dropout=settings.dropout,
        dtype=common["dtype"],
    )
    return CodePrior(encoder, pixelcnn, grid)


class CodePrior(nn.Module):
    """A Gated PixelCNN over the grid of codes, every position of which sees the revealed pixels (thesis 2.5.1).

    **Arguments:** `encoder`: of m, to features on the grid, or None; `pixelcnn`; `grid`: (h, w).
    """

    encoder: nn.Module | None
    pixelcnn: GatedPixelCNN
    grid: tuple[int, int]

    def nats(self, codes, m=None, labels=None, keys=None, train=False):
        """−log p(codes | m, label) of codes int [B, h, w]: float32 [B], summed over the positions."""
        logits = self.pixelcnn(codes, self._context(m, train), labels, keys if train else None)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, codes)
        return jnp.sum(losses, axis=(1, 2))

    def sample(self, keys, m=None, labels=None):
        """Codes int32 [B, h, w], image b from keys[b]."""
        return self.pixelcnn.sample(keys, self.grid, self._context(m, False), labels)

    def _context(self, m, train):
        return None if self.encoder is None else self.encoder(m, train)


class GaussianPrior(nn.Module):
    """p(z|m) = N(μ(m), (L(m) L(m)ᵀ)⁻¹): what the revealed pixels leave open has correlations, so a full covariance.

    **Arguments:** `encoder`: of m; `latent_dim`: Z; `hidden_dim`: of the layer between.
    """

    encoder: nn.Module
    latent_dim: int
    hidden_dim: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.hidden = nn.Dense(4 * self.hidden_dim, dtype=self.dtype)
        self.moments = nn.Dense(self.latent_dim * (self.latent_dim + 3) // 2, dtype=self.dtype)

    def nats(self, moments, m, labels=None, keys=None, train=False):
        """KL(q(z|x) ‖ p(z|m)) of moments [B, 2, Z], mean and log-variance: float32 [B]."""
        return gaussian_kl_to(moments[:, 0], moments[:, 1], *self._parameters(m, train))

    def sample(self, keys, m, labels=None):
        """z float32 [B, Z], image b from keys[b]."""
        mean, factor = self._parameters(m, False)
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.latent_dim,)))(keys)
        solve = jax.vmap(lambda factor, noise: jax.scipy.linalg.solve_triangular(factor, noise, trans=1, lower=True))
        return mean + solve(factor, noise)

    def _parameters(self, m, train):
        """Mean [B, Z] and the lower triangular factor of the precision [B, Z, Z]."""
        features = self.encoder(m, train)
        hidden = nn.leaky_relu(self.hidden(features.reshape(len(features), -1)))
        moments = self.moments(hidden).astype(jnp.float32)
        mean, log_diagonal, below = jnp.split(moments, [self.latent_dim, 2 * self.latent_dim], axis=-1)
        rows, columns = jnp.tril_indices(self.latent_dim, -1)
        diagonal = jnp.arange(self.latent_dim)
        factor = jnp.zeros((len(mean), self.latent_dim, self.latent_dim))
        factor = factor.at[:, diagonal, diagonal].set(jnp.exp(log_diagonal))
        return mean, factor.at[:, rows, columns].set(below)
