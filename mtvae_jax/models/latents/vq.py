"""The vector-quantised latent: every position of a grid takes the nearest code of a table (thesis 2.2, figure 2.3)."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from mtvae_jax.losses import codebook_loss, commitment_loss, straight_through
from mtvae_jax.models.latents import codes
from mtvae_jax.models.latents.protocol import LatentOutput
from mtvae_jax.models.layers import BATCH_AXIS, Conv
from mtvae_jax.ops.backend import backend

# Of the encoder's outputs at the start. The VQ terms are sums over D, the reconstruction is a mean over pixels: for
# outputs of size 1 the former are a thousand times the latter, and the quickest way down is to forget all but a few
# codes (12 epochs of mnist_sample: 5 of 128 in use, error 0.019; so small at the start, 111 and 0.005).
_INIT_VARIANCE = 1e-4

# The commitment term's weight of van den Oord et al. (2017).
DEFAULT_COMMITMENT = 0.25

# Of E z², what float32 leaves of Var z where there is none; and below any E z² that float32 can hold.
_ROUNDING, _NOTHING = 1e-6, 1e-45

# Below this share of a fair use there is nothing to average: the code stays where it was.
_UNUSED = 1e-6


def nearest_codes(z_e, codebook):
    """Returns the index of the code nearest to each vector, k = argmin ‖z_e − e_k‖² (thesis equation 2.3).

    ‖z_e‖² is the same for all codes, so one matrix product decides; in full float32, because codes lie close together,
    and from a point among them, because the squares of vectors far from 0 hide how they differ.

    **Arguments:** `z_e`: float [..., D]; `codebook`: float [K, D]. **Returns:** int32 [...]; of equals the first.
    """
    z_e, codebook = z_e.astype(jnp.float32), codebook.astype(jnp.float32)
    centre = _central_code(codebook)
    z_e, codebook = z_e - centre, codebook - centre
    products = jnp.matmul(z_e, codebook.T, precision=lax.Precision.HIGHEST)
    return jnp.argmin(jnp.sum(codebook**2, axis=-1) - 2.0 * products, axis=-1).astype(jnp.int32)


def _central_code(codebook):
    """The code nearest to the mean of codes [K, D]: unlike the mean, it is not where a few far ones draw it to."""
    from_mean = jnp.sum((codebook - jnp.mean(codebook, axis=0)) ** 2, axis=-1)
    return codebook[jnp.argmin(from_mean)]


def _rows(codebook, indices):
    """Returns codebook[indices], whose gradient is added up in one order on every device."""
    return codebook[indices] if backend().adds_in_order else _rows_by_products(codebook, indices)


@jax.custom_vjp
def _rows_by_products(codebook, indices):
    return codebook[indices]


def _rows_forward(codebook, indices):
    return codebook[indices], (codebook, indices)


def _rows_backward(saved, gradient):
    codebook, indices = saved
    chosen = jax.nn.one_hot(indices.reshape(-1), len(codebook))
    gradient = gradient.reshape(-1, codebook.shape[1])
    return jnp.matmul(chosen.T, gradient, precision=lax.Precision.HIGHEST), None


_rows_by_products.defvjp(_rows_forward, _rows_backward)


class VectorQuantiser(codes.CodeLatent):
    """A table of K codes e_k of dimension D; see `Latent`. The gradient passes by the quantisation straight through.

    The codes follow the encoder's outputs by the gradient of the codebook term, or with `ema_decay` as exponential
    moving averages of the outputs that chose them (van den Oord et al. 2017, appendix A.1), free of the bias towards
    their start. Either way a code that is hardly used can be restarted at an output of the current batch.

    Moving averages are over the global batch; they and the restarts live in the `batch_stats` collection, so
    evaluation never touches them.

    **Arguments:** `latent_dim`: D; `codebook_size`: K; `grid`: (h, w); `ema_decay`: of codes and of their use, None
    for codes that follow gradients; `restart_below`: a code is restarted when its use, as a moving average, falls below
    this share of a fair use of 1/K, 0 for never; `starts_from_data`: the codes start at outputs of the encoder.
    """

    latent_dim: int
    codebook_size: int
    grid: tuple[int, int]
    ema_decay: float | None = None
    restart_below: float = 0.0
    starts_from_data: bool = False
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    short = "vq"
    title = "VQ-VAE"
    terms: ClassVar = {"vq": ("VQ objective", "")}

    @staticmethod
    def defaults(dataset):
        return {"model.latent_dim": 32, "model.hidden_dims": codes.hidden_dims(dataset), "model.residual_layers": 4}

    @staticmethod
    def resolve(config, num_values):
        config.loss.beta = DEFAULT_COMMITMENT if config.loss.beta is None else config.loss.beta

    @classmethod
    def build(cls, settings, grid, dtype, axis_name):
        return cls(
            settings.latent_dim,
            settings.codebook_size,
            grid,
            ema_decay=settings.codebook_ema,
            restart_below=settings.codebook_restart,
            starts_from_data=settings.codebook_init == "data",
            dtype=dtype,
            axis_name=axis_name,
        )

    @classmethod
    def describe(cls, config, grid):
        rows, columns = grid
        return f"{rows} × {columns} codes out of {config.model.codebook_size}, commitment β = {config.loss.beta:.3g}"

    def setup(self):
        size, dim = self.codebook_size, self.latent_dim
        self.projection = Conv(dim, kernel_size=1, init_variance=_INIT_VARIANCE, dtype=self.dtype)
        self.codebook = self.param("codebook", nn.initializers.variance_scaling(1.0, "fan_in", "uniform", 1, 0),
                                   (size, dim))
        if self.keeps_averages:
            # Debiased by `weight`, the moving average of 1.
            self.weight = self.variable("batch_stats", "weight", jnp.zeros, ())
            self.usage = self.variable("batch_stats", "usage", jnp.zeros, (size,))
            self.sums = self.variable("batch_stats", "sums", jnp.zeros, (size, dim))
        if self.restart_below:
            self.candidates = self.variable("batch_stats", "candidates", jnp.zeros, (size, dim))

    @property
    def keeps_averages(self):
        return self.ema_decay is not None or self.restart_below > 0

    def __call__(self, features, keys=None, train=False):
        """Features [B, h, w, F] → z_q float32 [B, h, w, D]. The posterior is given as codes, int32 [B, h, w].

        `keys` are used in training, and only to choose where codes restart: the quantisation knows no noise.
        """
        z_e = self.projection(features).astype(jnp.float32)
        codebook = self.codebook if self.ema_decay is None else lax.stop_gradient(self.codebook)
        indices = nearest_codes(lax.stop_gradient(z_e), codebook)
        z_q = _rows(codebook, indices)
        chosen = jax.nn.one_hot(indices.reshape(indices.shape[0], -1), self.codebook_size)  # [B, h·w, K]
        if train and self.keeps_averages and not self.is_initializing():
            self._follow(lax.stop_gradient(z_e), chosen, keys)
        from_centre = z_e - lax.stop_gradient(jnp.mean(self.codebook, axis=0))
        terms = {
            "codebook": codebook_loss(z_e, z_q),
            "commitment": commitment_loss(z_e, z_q),
            "usage": jnp.mean(chosen, axis=1),
            # For the variance of z_e, which is the same from every point; far from the outputs it is lost in rounding.
            "output": jnp.mean(from_centre, axis=(1, 2)),
            "output_square": jnp.mean(jnp.sum(from_centre**2, axis=-1), axis=(1, 2)),
        }
        return LatentOutput(straight_through(z_e, z_q), terms, indices)

    def outputs(self, features):
        """Returns z_e, the encoder's outputs before quantisation: float32 [B, h, w, D]."""
        return self.projection(features).astype(jnp.float32)

    def embed(self, indices):
        """Turns codes int [...] into z_q float32 [..., D]."""
        return self.codebook[indices]

    @property
    def num_codes(self):
        return self.codebook_size

    @property
    def start(self):
        """Starts the codes at outputs of the encoder as it is before training, so that every code is near some."""
        return self._start_from if self.starts_from_data else None

    def _start_from(self, params, outputs, key):
        size = self.codebook_size
        chosen = jax.random.choice(key, len(outputs), (size,), replace=len(outputs) < size)
        return params | {"codebook": outputs[chosen]}

    @property
    def term_shapes(self):
        return {
            "codebook": (),
            "commitment": (),
            "usage": (self.codebook_size,),
            "output": (self.latent_dim,),
            "output_square": (),
        }

    def objective(self, terms, beta):
        """Returns codebook + β · commitment (thesis equation 2.5), float [B]. With moving averages the first has no
        gradient."""
        return terms["codebook"] + beta * terms["commitment"]

    def metrics(self, means, beta):
        """Returns `vq`: the VQ objective; `quantisation_error`: E‖z_e − z_q‖² as a share of the variance of z_e,
        whatever their scale; `perplexity` = exp(entropy) and `codes_used`, the share of codes that occur, of all codes
        of the split; `nats`: the code length under a uniform prior.
        """
        square = float(means["output_square"])
        variance = square - float(np.sum(np.square(means["output"], dtype=np.float64)))
        return {
            "vq": float(means["codebook"] + beta * means["commitment"]),
            # Outputs that are all alike have no variance but what rounding leaves.
            "quantisation_error": float(means["commitment"]) / max(variance, _ROUNDING * square, _NOTHING),
            **codes.use_of_codes(means["usage"], self.grid),
        }

    def findings(self, metrics):
        remedy = ("restart unused codes with config.model.codebook_restart, or let them follow averages with "
                  "config.model.codebook_ema")
        return codes.findings(metrics, self.num_codes, remedy)

    def after_update(self, before, params, stats):
        """Moves codes by their averages, and restarts those that are hardly used."""
        if not self.keeps_averages:
            return params, stats
        codebook, usage, sums = params["codebook"], stats["usage"], stats["sums"]
        if self.ema_decay is not None:
            # The optimiser knows no gradient here, but its weight decay would shrink the codes.
            mean = sums / jnp.maximum(usage, _UNUSED)[:, None]
            codebook = jnp.where((usage > _UNUSED * stats["weight"])[:, None], mean, before["codebook"])
        if self.restart_below:
            dead = usage < self.restart_below * stats["weight"]
            codebook = jnp.where(dead[:, None], stats["candidates"], codebook)
            # A fair use to begin with gives a restarted code time to find its outputs.
            usage = jnp.where(dead, stats["weight"], usage)
            sums = jnp.where(dead[:, None], stats["weight"] * stats["candidates"], sums)
        return params | {"codebook": codebook}, stats | {"usage": usage, "sums": sums}

    def _follow(self, z_e, chosen, keys):
        """Updates the moving averages of each code's use and outputs, and draws outputs for codes to restart at."""
        z_e, chosen = z_e.reshape(-1, self.latent_dim), chosen.reshape(-1, self.codebook_size)
        share = self.codebook_size / len(z_e)  # a code of fair use counts 1
        new = {
            "weight": jnp.ones(()),
            "usage": share * jnp.sum(chosen, axis=0),
            "sums": share * jnp.matmul(chosen.T, z_e, precision=lax.Precision.HIGHEST),
        }
        if self.axis_name is not None:
            new = lax.pmean(new, self.axis_name)
        decay = 0.99 if self.ema_decay is None else self.ema_decay
        for name, value in new.items():
            variable = getattr(self, name)
            variable.value = decay * variable.value + (1.0 - decay) * value
        if self.restart_below:
            key = jax.random.key_data(keys[0])
            if self.axis_name is not None:  # every device draws the same outputs of the global batch
                z_e = lax.all_gather(z_e, self.axis_name, tiled=True)
                key = lax.all_gather(key, self.axis_name)[0]
            chosen = jax.random.randint(jax.random.wrap_key_data(key), (self.codebook_size,), 0, len(z_e))
            self.candidates.value = z_e[chosen]
