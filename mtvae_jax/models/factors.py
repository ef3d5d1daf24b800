"""A first guess of the whole image: factor analysis, exact for any revealed pixels, and a network behind it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from mtvae_jax.models.layers import BATCH_AXIS, NormActivation
from mtvae_jax.ops.backend import backend

_HIDDEN = 512
_BLOCKS = 2

_IMAGES, _VALUES = 20_000, 2**27  # that the fit looks at: as many images, or half a gigabyte of their values
_ROUNDS = 200
_LEAST_NOISE = 2e-4  # a variance: pixels that are nearly the same in all images do not outweigh the rest


class FactorGuess(nn.Module):
    """Guesses the image behind any revealed pixels: the posterior of a few factors, and what a network makes of it.

    Factor analysis has x = μ + W f + ε with f ~ N(0, I) and ε ~ N(0, Ψ), Ψ diagonal, so p(f|m) is a Gaussian in closed
    form, exact for every mask (Rubin and Thayer 1982). A convolution has to learn for each mask anew what revealed
    pixels say about the image; here that is given, and the network learns what a linear model misses.

    μ, W and Ψ are fitted before training (`fit_factors`) and kept among the batch statistics; until then W is zero.

    **Arguments:** `factors`: their number.
    """

    factors: int
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, m, train):
        """m [B, H, W, C+1] → the guess, float32 [B, H, W, C]."""
        shape = (*m.shape[1:3], m.shape[3] - 1)
        size = int(np.prod(shape))
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value.reshape(-1)
        loadings = self.variable("batch_stats", "loadings", jnp.zeros, (size, self.factors)).value
        noise = self.variable("batch_stats", "noise", jnp.ones, shape).value.reshape(-1)
        f, deviation = posterior(m, mean, loadings, noise)
        common = {"normalise": self.normalise, "dtype": self.dtype, "axis_name": self.axis_name}

        def dense(x, features, name):
            return nn.Dense(features, use_bias=not self.normalise, dtype=self.dtype, name=name)(x)

        x = dense(jnp.concatenate([f, deviation], axis=-1), _HIDDEN, "in")
        for block in range(_BLOCKS):
            hidden = dense(NormActivation(**common, name=f"norm_in_{block}")(x, train), _HIDDEN, f"hidden_{block}")
            x = x + dense(NormActivation(**common, name=f"norm_{block}")(hidden, train), _HIDDEN, f"out_{block}")
        x = NormActivation(**common, name="norm")(x, train)
        # It starts as the linear model.
        beyond = nn.Dense(self.factors, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="beyond")(x)
        guess = mean + (f + beyond.astype(jnp.float32)) @ loadings.T
        return guess.reshape(m.shape[0], *shape)


# Rounded to TF32, as products on GPUs are, the precision might no longer be positive definite.
@jax.default_matmul_precision("highest")
def posterior(m, mean, loadings, noise):
    """Returns mean and standard deviations of p(f|m), float32 [B, K] each.

    **Arguments:** `m`: float [B, H, W, C+1]; `mean`, `noise`: [H·W·C], `loadings`: [H·W·C, K] of the factor analysis.
    """
    inverse = _inverse_factor_given(m, loadings, noise)
    batch, channels = m.shape[0], m.shape[-1] - 1
    known = jnp.repeat(m[..., -1].reshape(batch, -1), channels, axis=1)
    centred = m[..., :-1].reshape(batch, -1) - known * mean
    whitened = jnp.einsum("bij,bj->bi", inverse, centred / noise @ loadings)
    return jnp.einsum("bji,bj->bi", inverse, whitened), jnp.sqrt(jnp.sum(inverse**2, axis=1))


@jax.default_matmul_precision("highest")
def covariance_root(m, loadings, noise):
    """Returns R, float32 [B, K, H·W·C], with Rᵀ R the covariance of W f given m; arguments as of `posterior`."""
    return _inverse_factor_given(m, loadings, noise) @ loadings.T


def _inverse_factor_given(m, loadings, noise):
    """L⁻¹ [B, K, K] of the precision L Lᵀ of p(f|m)."""
    batch, channels, factors = m.shape[0], m.shape[-1] - 1, loadings.shape[-1]
    known = m[..., -1].reshape(batch, -1)
    rows, columns = np.tril_indices(factors)
    pairs = (loadings[:, rows] * loadings[:, columns] / noise[:, None]).reshape(known.shape[1], channels, -1).sum(1)
    precision = jnp.zeros((batch, factors, factors)).at[:, rows, columns].set(known @ pairs, unique_indices=True)
    return _inverse_factors(precision + jnp.eye(factors))


def _inverse_factors(matrices):
    """L⁻¹ of positive definite matrices L Lᵀ [B, K, K], of which the lower triangles are read; not differentiated."""

    def invert(matrix):
        factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
        return lax.linalg.triangular_solve(factor, jnp.eye(len(matrix)), left_side=True, lower=True)

    # One after another for replicas too. A batching rule of one's own cannot be differentiated, whatever is behind it.
    one_by_one = jax.custom_batching.sequential_vmap(lambda matrices: lax.map(invert, matrices))
    return (jax.vmap(invert) if backend().matrices_together else one_by_one)(lax.stop_gradient(matrices))


def fit_factors(images, factors, key):
    """Fits factor analysis to images by expectation-maximisation (Rubin and Thayer 1982).

    **Arguments:** `images`: uint8 [N, H, W, C], of which an even share is used where they are many; `factors`: their
    number, K; `key`: of the start.
    **Returns:** {"mean": [H, W, C], "loadings": [H·W·C, K], "noise": [H, W, C]}, float32, for values in [0, 1].
    """
    shape = images.shape[1:]
    size = int(np.prod(shape))
    most = max(1, min(_IMAGES, _VALUES // size))
    chosen = images[:: -(-len(images) // most)].reshape(-1, size)
    mean = chosen.mean(0, dtype=np.float64).astype(np.float32) / 255
    loadings, noise = _expectation_maximisation(jnp.asarray(chosen), mean, factors, key)
    return {"mean": jnp.reshape(mean, shape), "loadings": loadings, "noise": noise.reshape(shape)}


@functools.partial(jax.jit, static_argnums=2)
@jax.default_matmul_precision("highest")
def _expectation_maximisation(images, mean, factors, key):
    x = images.astype(jnp.float32) / 255 - mean
    variance, identity = jnp.mean(x**2, axis=0), jnp.eye(factors)
    products = x.T @ x / len(x) if x.shape[1] <= len(x) else None

    def improve(_, fitted):
        loadings, noise = fitted
        weighed = loadings / noise[:, None]
        covariance = jnp.linalg.inv(identity + loadings.T @ weighed)
        to_f = weighed @ covariance  # E[f|x] = xᵀ to_f
        crossed = x.T @ (x @ to_f) / len(x) if products is None else products @ to_f  # the mean of x fᵀ
        loadings = jnp.linalg.solve(covariance + to_f.T @ crossed, crossed.T).T
        return loadings, jnp.maximum(variance - jnp.sum(loadings * crossed, axis=1), _LEAST_NOISE)

    start = jnp.sqrt(variance / factors)[:, None] * jax.random.normal(key, (len(variance), factors))
    return jax.lax.fori_loop(0, _ROUNDS, improve, (start, jnp.maximum(variance, _LEAST_NOISE)))
