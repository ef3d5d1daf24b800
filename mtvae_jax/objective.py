"""From a config to a loss: the objectives of thesis 2.1.2, 2.2.2, 3.2.2 and 3.2.3 as one function of the parameters."""

import math

import jax
import jax.numpy as jnp

from mtvae_jax.conditioning import condition, exact_grid_mask, gaussian_mask, power_law_counts, uniform_mask
from mtvae_jax.image_quality import psnr, ssim
from mtvae_jax.losses import bits_per_dim, mean_squared_error
from mtvae_jax.methods import METHODS
from mtvae_jax.models import init_variables


def draw_masks(config, keys, height, width, count=None):
    """The masks of a batch, as the model's own method and sampling type draw them (thesis 3.2.1, 3.3.1).

    **Arguments:** `config`: resolved; `keys`: typed keys [B]; `count`: pixels to reveal instead of the method's own
    number, may be traced, of no effect on a fixed grid. **Returns:** bool [B, H, W, 1].
    """
    settings, batch = config.conditioning, len(keys)
    if settings.sampling == "exact":
        grid = exact_grid_mask(height, width, settings.grid_stride)
        return jnp.broadcast_to(grid, (batch, *grid.shape))
    count_keys, pixel_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    if count is not None:
        counts = jnp.full((batch,), count)
    elif METHODS[config.model.method].counts == "power_law":
        counts = power_law_counts(count_keys, settings.exponent, height * width, batch)
    else:
        counts = jnp.full((batch,), settings.num_pixels)
    if settings.sampling == "uniform":
        return uniform_mask(pixel_keys, counts, height, width)
    return gaussian_mask(
        pixel_keys, counts, height, width, settings.gaussian_std, replacement=settings.replacement
    )


def intensities(images):
    """Images at rest, uint8, as the model sees them: float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


class Objective:
    """The loss of a model and the terms it is made of: what `step`, `Evaluator` and `fit` train and judge.

    **Arguments:** `model`: a `MultitaskVAE`; `config`: resolved; `image_shape`: (H, W, C).
    **Attributes:** `settings`: the section of the config that says how to train; `base_key`: of all its randomness.
    """

    def __init__(self, model, config, image_shape):
        self.model = model
        self.config = config
        self.image_shape = tuple(image_shape)
        self.method = METHODS[config.model.method]
        self.latent = model.latent
        self.settings = config.train
        self.base_key = jax.random.key(config.seed)

    def init(self, key):
        """Fresh variables: {"params": …, "batch_stats": …}."""
        return init_variables(self.model, key, self.image_shape)

    @property
    def decoder_terms(self):
        """The names of the reconstruction terms in training, in the order of `loss.weights`."""
        names = []
        if self.method.decoder:
            names.append("reconstruction")
        if self.method.conditional_decoder:
            names.append("reconstruction_conditioned")
        return names

    @property
    def term_shapes(self):
        """Name → shape of all that `training_loss` reports."""
        return {"loss": ()} | dict.fromkeys(self.decoder_terms, ()) | self.latent.term_shapes

    def training_loss(self, params, batch_stats, batch, latent_keys, mask_keys):
        """The loss to be minimised, on one device's share of the batch.

        **Arguments:** `batch`: {"images": uint8 [B, H, W, C]}; `latent_keys`, `mask_keys`: typed keys [B].
        **Returns:** the scalar loss, and (new batch statistics, terms averaged over the images).
        """
        images = intensities(batch["images"])
        output, updates = self.model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            self._condition(images, mask_keys),
            latent_keys,
            train=True,
            mutable=["batch_stats"],
        )
        terms = {name: jnp.mean(term, axis=0) for name, term in self._terms(output, images).items()}
        return terms["loss"], (updates.get("batch_stats", {}), terms)

    def after_update(self, before, params, batch_stats):
        """What a latent changes besides the optimiser: new parameters and batch statistics.

        **Arguments:** `before`, `params`: before and after the optimiser's step.
        """
        latent, stats = self.latent.after_update(before["latent"], params["latent"], batch_stats.get("latent", {}))
        return params | {"latent": latent}, batch_stats | ({"latent": stats} if stats else {})

    def evaluation_terms(self, variables, batch, latent_keys, mask_keys):
        """All metrics of each image, with running batch statistics.

        `reconstruction` is from z alone: by decoder 1, or by the single decoder with an empty mask (thesis 3.3).

        **Arguments:** as `training_loss`. **Returns:** name → float32 [B, …].
        """
        images = intensities(batch["images"])
        output = self.model.apply(variables, images, self._condition(images, mask_keys), latent_keys)
        terms = self._terms(output, images)
        reconstructions = {"": output.reconstruction, "_conditioned": output.reconstruction_conditioned}
        if self.method.empty_mask:
            reconstructions[""] = self.reconstruct_unconditioned(variables, output.latent.z)
            terms["reconstruction"] = mean_squared_error(images, reconstructions[""])
        for suffix, reconstruction in reconstructions.items():
            if reconstruction is not None:
                terms[f"psnr{suffix}"] = psnr(terms[f"reconstruction{suffix}"])
                terms[f"ssim{suffix}"] = ssim(images, reconstruction)
        return terms

    def metrics(self, means):
        """What is reported, name → float, from the means of terms over a split or an epoch."""
        latent = self.latent.metrics({name: means[name] for name in self.latent.term_shapes}, self.config.loss.beta)
        nats = latent.pop("nats")
        metrics = {name: float(mean) for name, mean in means.items() if name not in self.latent.term_shapes}
        metrics |= {name: float(value) for name, value in latent.items()}
        for suffix in ("", "_conditioned"):
            if f"reconstruction{suffix}" in metrics:
                bits = bits_per_dim(metrics[f"reconstruction{suffix}"], nats, math.prod(self.image_shape))
                metrics[f"bits_per_dim{suffix}"] = float(bits)
        return metrics

    def conditioned_error(self, variables, batch, latent_keys, mask_keys, count):
        """Reconstruction error of the conditional decoder with `count` pixels revealed, {"error": float32 [B]}."""
        images = intensities(batch["images"])
        masks = draw_masks(self.config, mask_keys, *images.shape[1:3], count=count)
        output = self.model.apply(variables, images, condition(images, masks), latent_keys)
        return {"error": mean_squared_error(images, output.reconstruction_conditioned)}

    def reconstruct_unconditioned(self, variables, z):
        """x̂ from z alone, float32 [B, H, W, C]; None for a model that always needs revealed pixels."""
        if not self.method.unconditioned:
            return None
        height, width, channels = self.image_shape
        nothing = jnp.zeros((z.shape[0], height, width, channels + 1))
        unconditioned, conditioned = self.model.apply(variables, z, nothing, method="decode")
        return conditioned if self.method.empty_mask else unconditioned

    def _condition(self, images, mask_keys):
        if not self.method.conditional_decoder:
            return None
        return condition(images, draw_masks(self.config, mask_keys, *images.shape[1:3]))

    def _terms(self, output, images):
        # 1. Reconstruction, one term a decoder (3.2.2)
        terms = {name: mean_squared_error(images, getattr(output, name)) for name in self.decoder_terms}
        # 2. The latent's own term: β · KL, or codebook + β · commitment
        terms |= output.latent.terms
        latent_loss = self.latent.objective(output.latent.terms, self.config.loss.beta)
        # 3. Weigh them; the batch is averaged over by the caller, once
        weights = zip(self.decoder_terms, self.config.loss.weights, strict=True)
        return {"loss": sum((weight * terms[name] for name, weight in weights), start=latent_loss)} | terms
