"""The terms of the objectives (thesis 2.1.2, 2.2.2, 3.2.2, 3.2.3), each per image.

Everything here returns one number an image; the one average over the batch is the objective's.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def mean_squared_error(images, reconstruction):
    """Returns the mean over the D = H·W·C values of (x − x̂)², the reconstruction term (thesis equation 2.2 and 3.2.2).

    **Arguments:** `images`, `reconstruction`: float [B, H, W, C], x in [0, 1].
    **Returns:** float32 [B], squared intensity.
    """
    error = images.astype(jnp.float32) - reconstruction.astype(jnp.float32)
    return jnp.mean(error**2, axis=(1, 2, 3))


def error_of_mean(images, draws):
    """Returns the squared error that the mean of endlessly many draws would have, estimated without bias from two of
    them.

    (x − y₁)(x − y₂) of independent draws has the expectation (x − E y)²: unlike (x − y₁)² it does not ask the draws to
    be alike.

    **Arguments:** `images`: float [B, H, W, C]; `draws`: float [2, B, H, W, C].
    **Returns:** float32 [B], squared intensity, mean over the D values; may be negative.
    """
    first, second = images.astype(jnp.float32) - draws.astype(jnp.float32)
    return jnp.mean(first * second, axis=(1, 2, 3))


def gaussian_kl(mean, log_variance):
    """Returns KL(N(mean, exp(log_variance)) ‖ N(0, I)), thesis equation 2.1.

    **Arguments:** `mean`, `log_variance`: float [B, Z].
    **Returns:** float [B], nats, summed over the latent dimensions.
    """
    return 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1.0 - log_variance, axis=-1)


def gaussian_kl_to(mean, log_variance, prior_mean, prior_factor):
    """Returns KL(N(mean, diag exp(log_variance)) ‖ N(prior_mean, (L Lᵀ)⁻¹)), for a prior that has to be learned.

    **Arguments:** `mean`, `log_variance`, `prior_mean`: float [B, Z]; `prior_factor`: L, float [B, Z, Z], the lower
    triangular factor of the prior's precision, its diagonal positive.
    **Returns:** float [B], nats. With prior_mean = 0 and L = I it is `gaussian_kl`.
    """
    trace = jnp.sum(jnp.exp(log_variance)[:, :, None] * prior_factor**2, axis=(1, 2))
    whitened = jnp.einsum("bij,bi->bj", prior_factor, mean - prior_mean, precision=lax.Precision.HIGHEST)
    rows = np.arange(mean.shape[-1])
    diagonal = prior_factor.at[:, rows, rows].get(unique_indices=True)
    log_determinants = 2.0 * jnp.sum(jnp.log(diagonal), axis=-1)
    log_determinants += jnp.sum(log_variance, axis=-1)
    return 0.5 * (trace + jnp.sum(whitened**2, axis=-1) - mean.shape[-1] - log_determinants)


def cross_entropy(logits, labels):
    """Returns −log softmax(logits) of the labels, what a code costs under a prior (thesis 2.5.1).

    **Arguments:** `logits`: float [..., K]; `labels`: int [...]. **Returns:** float [...], nats.
    """
    places = jnp.indices(labels.shape, sparse=True)
    of_labels = logits.at[(*places, labels)].get(unique_indices=True)  # or a GPU would add gradients up in any order
    return jax.nn.logsumexp(logits, axis=-1) - of_labels


def codebook_loss(z_e, z_q):
    """Returns the mean over positions of ‖sg(z_e) − e_k‖²: moves the codes to the encoder's outputs (equation 2.5).

    **Arguments:** `z_e`: float [B, …, D], the encoder's outputs; `z_q`: the nearest codes, same shape.
    **Returns:** float [B].
    """
    return _squared_distance(lax.stop_gradient(z_e), z_q)


def commitment_loss(z_e, z_q):
    """Returns the mean over positions of ‖z_e − sg(e_k)‖²: keeps the encoder near its codes (thesis equation 2.5).

    The thesis prints z_q in the place of z_e, which would leave the encoder without this gradient; van den Oord et al.
    (2017), equation 3, has it as here. Its weight β multiplies this term alone.

    **Arguments:** as `codebook_loss`. **Returns:** float [B].
    """
    return _squared_distance(z_e, lax.stop_gradient(z_q))


@jax.custom_jvp
def straight_through(z_e, z_q):
    """Returns z_q in the forward pass, the gradient of z_e in the backward pass (thesis 2.2.2, figure 2.3).

    The usual z_e + sg(z_q − z_e) is z_q but for rounding; this is z_q to the bit, the vector that is decoded later from
    the code alone.

    **Arguments:** `z_e`, `z_q`: float [B, …, D], of one dtype. **Returns:** float [B, …, D].
    """
    return z_q


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[1], tangents[0]


def beta_for_variance(variance, num_values):
    """Returns the KL weight β = 2σ²/D that makes `mean_squared_error + β·KL` the negative ELBO of the likelihood N(x̂,
    σ²I).

    −log N(x; x̂, σ²I) + KL = D/(2σ²) · (MSE + 2σ²/D · KL) + constant: a fixed β beside a pixel mean stands for a σ².

    **Arguments:** `variance`: σ², squared intensity; `num_values`: D = H·W·C.
    """
    return 2.0 * variance / num_values


def variance_for_beta(beta, num_values):
    """Returns the decoder variance σ² = β·D/2 that a KL weight stands for; inverse of `beta_for_variance`."""
    return beta * num_values / 2.0


def bits_per_dim(mean_squared_error, latent_nats, num_values):
    """Returns the negative ELBO of 8-bit images in bits per value, at the best shared decoder variance.

    With x̂ given, the likelihood N(x̂, σ²I) is best at σ² = MSE (Rybkin et al. 2021, σ-VAE), where the negative ELBO is
    D/2 · (log(2π·MSE) + 1) + latent nats. Intensities k/255 lie 1/255 apart, hence the log₂ 255. The density is taken
    at the intensity itself, without dequantisation noise: an estimate where σ is not large against 1/255.

    **Arguments:** `mean_squared_error`: average over a split, squared intensity of [0, 1]; `latent_nats`: KL or code
    length, nats an image, the split's average; `num_values`: D = H·W·C.
    **Returns:** bits per value.
    """
    distortion = 0.5 * (jnp.log(2.0 * jnp.pi * mean_squared_error) + 1.0)
    return (distortion + latent_nats / num_values) / jnp.log(2.0) + jnp.log2(255.0)


def _squared_distance(a, b):
    squared = jnp.sum((a.astype(jnp.float32) - b.astype(jnp.float32)) ** 2, axis=-1)
    return jnp.mean(squared, axis=tuple(range(1, squared.ndim)))
