"""The Gaussian latent: q(z|x) = N(μ(x), σ²(x)) against p(z) = N(0, I) (thesis 2.1.2, figure 2.2)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.losses import gaussian_kl
from mtvae_jax.models.latents.output import LatentOutput

# Of a posterior mean over images: a dimension that varies more is active (Burda et al. 2016).
_ACTIVE_VARIANCE = 0.01


class GaussianLatent(nn.Module):
    """**Arguments:** `latent_dim`: Z."""

    latent_dim: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features, keys=None, train=False):
        """Features [B, h, w, F] → z [B, Z]: a draw by the reparameterisation trick, or the mean without `keys`.

        The posterior is given as [B, 2, Z]: mean and log-variance.
        """
        x = features.reshape(features.shape[0], -1)
        moments = nn.Dense(2 * self.latent_dim, dtype=self.dtype, name="moments")(x).astype(jnp.float32)
        mean, log_variance = jnp.split(moments, 2, axis=-1)
        z = mean
        if keys is not None:
            noise = jax.vmap(lambda key: jax.random.normal(key, (self.latent_dim,)))(keys)
            z = mean + jnp.exp(0.5 * log_variance) * noise
        return LatentOutput(z, {"kl": gaussian_kl(mean, log_variance)}, jnp.stack([mean, log_variance], axis=1))

    def prior_sample(self, key, num):
        """z [num, Z] from N(0, I)."""
        return jax.random.normal(key, (num, self.latent_dim))

    @property
    def term_shapes(self):
        return {"kl": ()}

    def objective(self, terms, beta):
        """β · KL, float [B]."""
        return beta * terms["kl"]

    def statistics(self, posterior):
        """Of posteriors [B, 2, Z], each [B, Z]: the mean, and the KL of each dimension, nats."""
        mean, log_variance = posterior[:, 0], posterior[:, 1]
        kl = gaussian_kl(mean[..., None], log_variance[..., None])
        return {"posterior_mean": mean, "kl_per_dimension": kl}

    @property
    def varying(self):
        return ("posterior_mean",)

    def metrics(self, means, beta):
        """`nats`: what z costs, for bits per dimension; of a split `active_units`: how many dimensions depend on x."""
        metrics = {"kl": means["kl"], "nats": means["kl"]}
        if "posterior_mean_variance" in means:
            variance = np.asarray(means["posterior_mean_variance"])
            metrics["active_units"] = np.count_nonzero(variance > _ACTIVE_VARIANCE)
        return metrics

    def after_update(self, before, params, stats):
        return params, stats
