"""The Gaussian latent: q(z|x) = N(μ(x), σ²(x)) against p(z) = N(0, I) (thesis 2.1.2, figure 2.2)."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.errors import UserError
from mtvae_jax.losses import beta_for_variance, gaussian_kl, variance_for_beta
from mtvae_jax.models.latents.protocol import Finding, LatentOutput

# The draft names no β. σ = 0.1 is the error at which these models settle on Fashion-MNIST (mean squared error 0.0104
# after 5 epochs), so that the loss is the negative ELBO at very nearly its own best σ².
DEFAULT_VARIANCE = 0.01

# The variance over images of a dimension's posterior mean from which on it is active (Burda et al. 2016).
_ACTIVE_VARIANCE = 0.01

# Sine of the angle between two z below which the way from one to the other is a straight line.
_STRAIGHT = 1e-3
_NO_LENGTH = 1e-6

# Nats of the whole posterior. KL(q(z|x) ‖ p(z)), averaged over images, is at least what z tells of x: here less than
# 1/69 bit an image, which no decoder can make use of.
LEAST_KL = 0.01


class GaussianLatent(nn.Module):
    """Draws z from a normal distribution with a mean and a variance for each dimension; see `Latent`.

    **Arguments:** `latent_dim`: Z.
    """

    latent_dim: int
    dtype: jnp.dtype = jnp.float32

    short = "gauss"
    title = "Gaussian VAE"
    terms: ClassVar = {"kl": ("KL divergence", "nats")}
    prior = "gaussian"
    knows_prior = True
    settings: ClassVar = {}
    refuses: ClassVar = {}
    num_codes = None
    codes_per_image = 1
    start = None

    @staticmethod
    def defaults(dataset):
        return {"model.latent_dim": 16, "model.hidden_dims": (32, 64, 128, 256), "model.residual_layers": 0}

    @staticmethod
    def resolve(config, num_values):
        """Works out β = 2σ²/D from the variance, or the variance from β. **Raises:** `UserError` if both are given."""
        loss = config.loss
        if loss.beta is None:
            loss.variance = DEFAULT_VARIANCE if loss.variance is None else loss.variance
            loss.beta = beta_for_variance(loss.variance, num_values)
        variance = variance_for_beta(loss.beta, num_values)
        if loss.variance is not None and not math.isclose(loss.variance, variance, rel_tol=1e-6):
            raise UserError(
                f"config.loss.beta = {loss.beta} and config.loss.variance = {loss.variance}: each gives the other "
                f"(β = 2σ²/D, D = {num_values}); set one of them"
            )
        loss.variance = variance if loss.variance is None else loss.variance

    @classmethod
    def build(cls, settings, grid, dtype, axis_name):
        return cls(settings.latent_dim, dtype=dtype)

    @classmethod
    def describe(cls, config, grid):
        return f"β = {config.loss.beta:.3g}, for a decoder variance σ² = βD/2 of {config.loss.variance:.3g}"

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
        """Returns z [num, Z] from N(0, I)."""
        return jax.random.normal(key, (num, self.latent_dim))

    def embed(self, z):
        return z

    def between(self, a, b, share):
        """Turns direction a into b (Shoemake 1985, "Animating rotation with quaternion curves") while the length goes
        from one to the other; a, b float [B, Z].
        """
        lengths = [jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (a, b)]
        first, second = (z / jnp.maximum(length, _NO_LENGTH) for z, length in zip((a, b), lengths, strict=True))
        angle = jnp.arccos(jnp.clip(jnp.sum(first * second, -1, keepdims=True), -1, 1))
        sine = jnp.sin(angle)
        shares = jnp.sin((1 - share) * angle), jnp.sin(share * angle)
        turned = (shares[0] * first + shares[1] * second) / jnp.where(sine == 0, 1, sine)
        length = (1 - share) * lengths[0] + share * lengths[1]
        # Of one direction, of opposite ones or of none there is no turn, or no one turn
        no_turn = (sine < _STRAIGHT) | (jnp.minimum(*lengths) < _NO_LENGTH)
        return jnp.where(no_turn, (1 - share) * a + share * b, length * turned)

    @property
    def posterior_row(self):
        return jax.ShapeDtypeStruct((2, self.latent_dim), jnp.float32)

    @property
    def term_shapes(self):
        return {"kl": ()}

    def objective(self, terms, beta):
        """Returns β · KL, float [B]."""
        return beta * terms["kl"]

    def statistics(self, posterior):
        """Returns of posteriors [B, 2, Z], each [B, Z]: the mean, and the KL of each dimension, nats."""
        mean, log_variance = posterior[:, 0], posterior[:, 1]
        kl = gaussian_kl(mean[..., None], log_variance[..., None])
        return {"posterior_mean": mean, "kl_per_dimension": kl}

    @property
    def varying(self):
        return ("posterior_mean",)

    def metrics(self, means, beta):
        """Returns `nats`: what z costs, for bits per dimension; of a split `active_units`: how many dimensions depend
        on x.
        """
        metrics = {"kl": means["kl"], "nats": means["kl"]}
        if "posterior_mean_variance" in means:
            variance = np.asarray(means["posterior_mean_variance"])
            metrics["active_units"] = np.count_nonzero(variance > _ACTIVE_VARIANCE)
        return metrics

    def findings(self, metrics):
        kl, active_units = metrics.get("val/kl"), metrics.get("val/active_units")
        if kl is None or not posterior_collapsed(kl, active_units):
            return []
        dimensions = "dimension" if active_units == 1 else "dimensions"
        active = "" if active_units is None else f" and {active_units:.0f} {dimensions} of z active"
        return [Finding("posterior collapsed", (
            f"posterior collapsed: KL is {kl:.2g} nats{active}, so z hardly depends on the image; lower "
            "config.loss.beta, or let it rise over config.loss.kl_warmup_epochs"
        ))]

    def after_update(self, before, params, stats):
        return params, stats


def posterior_collapsed(kl, active_units=None):
    """Tells whether q(z|x) is the same for every image, and so z nothing but noise.

    Either its KL is nearly nothing, whatever the number of dimensions; or no dimension is active: none has a mean that
    varies over the images (Burda et al. 2016), be there many nats of KL spent on being unlike the prior. A share of the
    dimensions is no measure: of a thousand that are allowed, five may be in use and enough.

    **Arguments:** `kl`: nats an image, the dimensions summed; `active_units`: how many dimensions are active, None
    where that is unknown.
    """
    return kl < LEAST_KL or active_units == 0
