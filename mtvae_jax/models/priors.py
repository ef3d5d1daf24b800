"""What the second stage learns: priors over the latent of a frozen model, p(z) and p(z|m) (thesis 2.2.2, 2.5.1).

A prior is a Flax module with

    build(config, latent, grid, labels, axis_name)            a classmethod that makes one for a latent's module
    nats(posterior, m, labels, keys, train) -> float32 [B]    what the posterior costs under the prior, an image
    sample(keys, m, labels) -> what the model decodes          codes int32 [B, h, w], or z float32 [B, Z]

`m` is float [B, H, W, C+1], all zero where nothing is revealed, or None for a prior that sees no pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.losses import cross_entropy, gaussian_kl_to
from mtvae_jax.models.context import GridContext
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.latents import build_latent, grid_size
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.models.merge import MERGES, for_each_draw
from mtvae_jax.models.pixelcnn import GatedPixelCNN

# Residual layers after those of stride 2 let every position see revealed pixels from far away.
_CONTEXT_RESIDUAL_LAYERS = 3

# Folded into an image's key for its label; the PixelCNN folds in the positions of the codes, counted from 0.
_LABEL = np.uint32(2**32 - 1)



def build_prior(config, image_shape, num_classes=0, label_counts=None, *, axis_name=BATCH_AXIS):
    """Builds the prior that a resolved config describes.

    **Arguments:** `config`; `image_shape`: (H, W, C); `num_classes`: of the labels, 0 for a prior that sees none;
    `label_counts`: as of a `CodePrior`; `axis_name`: as in `build_model`.
    """
    latent = build_latent(config, image_shape, axis_name=axis_name)
    labels = Labels(num_classes, tuple(label_counts) if num_classes and label_counts is not None else None)
    return PRIORS[latent.prior].build(config, latent, grid_size(config, image_shape), labels, axis_name)


class Labels(NamedTuple):
    """**num_classes**: 0 for a prior that sees no labels; **counts**: how many training images have each, or None."""

    num_classes: int
    counts: tuple[int, ...] | None


def init_prior(prior, latent, config, image_shape, key):
    """Returns fresh variables of a prior: {"params": …, "batch_stats": …}, float32.

    **Arguments:** `prior`: from `build_prior` with the resolved `config`; `latent`: of the model; `image_shape`:
    (H, W, C).
    """
    height, width, channels = image_shape
    posterior = jnp.zeros((1, *latent.posterior_row.shape), latent.posterior_row.dtype)
    m = jnp.zeros((1, height, width, channels + 1)) if config.prior.unconditional < 1 else None
    labels = jnp.zeros((1,), jnp.int32) if config.prior.class_conditional else None
    init = jax.jit(lambda key: prior.init(key, posterior, m, labels, train=True, method="nats"))
    return {"batch_stats": {}} | init(key)


def _context_encoder(config, axis_name, *, residual_layers):
    """The encoder of m, None for a prior that sees no pixels. A prior that is learned along with the model sees what
    the decoder sees."""
    if config.prior.unconditional == 1:
        return None
    network = MERGES[config.model.merge].network
    if network is not None and config.prior.joint:
        return GridContext()
    widths = {
        "hidden_dims": tuple(config.model.hidden_dims),
        "residual_layers": residual_layers,
        "residual_dim": config.prior.hidden_dim,
    }
    common = {"dtype": jnp.dtype(config.prior.precision), "axis_name": axis_name}
    if network is None:
        return Encoder(**widths, **common)
    return GridContext(network(**widths, factors=config.model.factors, **common))


class KnowsClasses:
    """p(y|m) of a prior that learns label and latent together, p(y, z|m) = p(y|m) · p(z|m, y).

    p(y) are the frequencies in training, and so is p(y|m) where nothing is revealed; elsewhere a head on the features
    of m learns by what it is off them: p(y|m) ∝ p(y) · exp(head(m)_y). A module with it has `encoder`, `num_classes`
    and `label_counts`.
    """

    def _setup_labels(self, hidden_dim, dtype):
        if self.encoder is not None and self.label_counts is not None:
            self.label_hidden = nn.Dense(4 * hidden_dim, dtype=dtype)
            # From p(y) on
            self.label = nn.Dense(len(self.label_counts), kernel_init=nn.initializers.zeros, dtype=jnp.float32)

    def label_probabilities(self, m):
        """Returns p(y|m), float32 [B, classes]."""
        return jax.nn.softmax(self._label_logits(self._features(m, False), m, len(m)))

    def _features(self, m, train):
        return None if self.encoder is None else self.encoder(m, train)

    def _label_logits(self, features, m, num):
        """log p(y|m) up to a constant, float32 [B, classes]; minus infinity for labels that never occur."""
        if self.label_counts is None:
            return jnp.zeros((num, self.num_classes))
        counts = np.array(self.label_counts, np.float64)
        with np.errstate(divide="ignore"):
            frequencies = jnp.asarray(np.log(counts / counts.sum()), jnp.float32)
        if features is None:
            return jnp.broadcast_to(frequencies, (num, len(counts)))
        hidden = nn.leaky_relu(self.label_hidden(features.reshape(num, -1)))
        revealed = jnp.any(m[..., -1:] != 0, axis=(1, 2))
        return frequencies + jnp.where(revealed, self.label(hidden), 0.0)

    def _for_draws(self, keys, m, labels):
        """Features of m, and labels from p(y|m) where none are given, a row for each key: S draws for every row of m.
        """
        features = self._features(m, False)
        if labels is None and self.num_classes:
            labels = self._draw_labels(keys, features, m)
        return [None if rows is None else for_each_draw(rows, keys.shape[0]) for rows in (features, labels)]

    def _draw_labels(self, keys, features, m):
        """int32 [S·B], from p(y|m)."""
        num = (keys if features is None else features).shape[0]
        logits = for_each_draw(self._label_logits(features, m, num), keys.shape[0])
        return jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, _LABEL), row))(keys, logits)


class CodePrior(KnowsClasses, nn.Module):
    """A Gated PixelCNN over the grid of codes, every position of which sees the revealed pixels (thesis 2.5.1).

    **Arguments:** `encoder`: of m, to features on the grid, or None; `pixelcnn`; `grid`: (h, w); `label_counts`: how
    many training images have each label, None without classes, or for a prior that knows p(codes | m, y) alone (as
    those of earlier versions): its labels cost nothing, and all are drawn alike.
    """

    encoder: nn.Module | None
    pixelcnn: GatedPixelCNN
    grid: tuple[int, int]
    label_counts: tuple[int, ...] | None = None

    def setup(self):
        self._setup_labels(self.pixelcnn.hidden_dim, self.pixelcnn.dtype)

    @property
    def num_classes(self):
        return self.pixelcnn.num_classes

    @classmethod
    def build(cls, config, latent, grid, labels, axis_name):
        settings = config.prior
        pixelcnn = GatedPixelCNN(
            num_codes=latent.num_codes,
            hidden_dim=settings.hidden_dim,
            num_layers=settings.num_layers,
            kernel_size=settings.kernel_size,
            first_kernel_size=settings.first_kernel_size,
            num_classes=labels.num_classes,
            dropout=settings.dropout,
            dtype=jnp.dtype(settings.precision),
        )
        encoder = _context_encoder(config, axis_name, residual_layers=_CONTEXT_RESIDUAL_LAYERS)
        return cls(encoder, pixelcnn, grid, labels.counts)

    def nats(self, codes, m=None, labels=None, keys=None, train=False):
        """Returns −log p(codes | m) of codes int [B, h, w]: float32 [B], summed over the positions.

        With labels int [B] −log p(label, codes | m), which no −log p(codes | m) exceeds.
        """
        features = self._features(m, train)
        logits = self.pixelcnn(codes, features, labels, keys if train else None)
        nats = jnp.sum(cross_entropy(logits, codes), axis=(1, 2))
        if self.label_counts is None:
            return nats
        label_logits = self._label_logits(features, m, len(codes))
        return nats + cross_entropy(label_logits, labels)

    def sample(self, keys, m=None, labels=None):
        """Returns codes int32 [S·B, h, w] for m or labels of B rows, one from each key; where there are classes but no
        `labels`, of a label from p(y|m).
        """
        return self.pixelcnn.sample(keys, self.grid, *self._for_draws(keys, m, labels))


class GaussianPrior(KnowsClasses, nn.Module):
    """p(z|m) = N(μ(m), (L(m) L(m)ᵀ)⁻¹): what the revealed pixels leave open has correlations, so a full covariance.

    With classes p(z|m, y), and where nothing is revealed p(z|y): N(0, I) is p(z), of no class.

    **Arguments:** `encoder`: of m, or None; `latent_dim`: Z; `hidden_dim`: of the layer between; `starts_standard`: it
    starts as N(0, I), which training on draws needs: the inverse of a random triangular matrix is of the order of 2^Z;
    `num_classes`, `label_counts`: as of a `CodePrior`.
    """

    encoder: nn.Module | None
    latent_dim: int
    hidden_dim: int
    dtype: jnp.dtype = jnp.float32
    starts_standard: bool = False
    num_classes: int = 0
    label_counts: tuple[int, ...] | None = None

    @classmethod
    def build(cls, config, latent, grid, labels, axis_name):
        encoder = _context_encoder(config, axis_name, residual_layers=0)
        settings = config.prior
        dtype = jnp.dtype(settings.precision)
        widths = config.model.latent_dim, settings.hidden_dim
        return cls(encoder, *widths, dtype, settings.joint, labels.num_classes, labels.counts)

    def setup(self):
        self._setup_labels(self.hidden_dim, self.dtype)
        if self.num_classes:
            self.class_embedding = nn.Embed(self.num_classes, 4 * self.hidden_dim, dtype=self.dtype)
        self.hidden = nn.Dense(4 * self.hidden_dim, dtype=self.dtype)
        init = nn.initializers.zeros if self.starts_standard else nn.linear.default_kernel_init
        self.moments = nn.Dense(self.latent_dim * (self.latent_dim + 3) // 2, kernel_init=init, dtype=self.dtype)

    def nats(self, moments, m, labels=None, keys=None, train=False):
        """Returns KL(q(z|x) ‖ p(z|m)) of moments [B, 2, Z], mean and log-variance: float32 [B].

        With labels int [B] KL(q(z|x) ‖ p(z|m, y)) − log p(y|m).
        """
        features = self._features(m, train)
        nats = gaussian_kl_to(moments[:, 0], moments[:, 1], *self._parameters(features, labels))
        if self.label_counts is None:
            return nats
        return nats + cross_entropy(self._label_logits(features, m, len(moments)), labels)

    def sample(self, keys, m=None, labels=None):
        """Returns z float32 [S·B, Z] for m or labels of B rows, one from each key; where there are classes but no
        `labels`, of a label from p(y|m).
        """
        mean, factor = self._parameters(*self._for_draws(keys, m, labels))
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.latent_dim,)))(keys)
        solve = jax.vmap(lambda factor, noise: jax.scipy.linalg.solve_triangular(factor, noise, trans=1, lower=True))
        return mean + solve(factor, noise)

    def _parameters(self, features, labels):
        """Mean [B, Z] and the lower triangular factor of the precision [B, Z, Z]."""
        seen = []
        if features is not None:
            seen.append(self.hidden(features.reshape(features.shape[0], -1)))
        if labels is not None:
            seen.append(self.class_embedding(labels))
        moments = self.moments(nn.leaky_relu(sum(seen))).astype(jnp.float32)
        mean, log_diagonal, below = jnp.split(moments, [self.latent_dim, 2 * self.latent_dim], axis=-1)
        rows, columns = np.tril_indices(self.latent_dim, -1)
        diagonal = np.arange(self.latent_dim)
        factor = jnp.zeros((mean.shape[0], self.latent_dim, self.latent_dim))
        factor = factor.at[:, diagonal, diagonal].set(jnp.exp(log_diagonal), unique_indices=True)
        return mean, factor.at[:, rows, columns].set(below, unique_indices=True)


# By the name that a latent's `prior` has for them.
PRIORS = {"codes": CodePrior, "gaussian": GaussianPrior}
