"""The second stage's loss: what the posterior of a frozen model costs under a learned prior (thesis 2.2.2)."""

import jax
import jax.numpy as jnp
from flax import struct

from mtvae_jax.conditioning import condition, draw_masks
from mtvae_jax.models import build_latent
from mtvae_jax.models.priors import build_prior, init_prior
from mtvae_jax.objective import intensities, knob
from mtvae_jax.randomness import Purpose
from mtvae_jax.training.one_term import OneTermObjective


@struct.dataclass
class PriorKnobs:
    """What second stages that share a compiled program may differ in: arguments of the program, not constants in it.

    `unconditional`: the share of images whose m is left empty; `exponent`: of the power law.
    """

    unconditional: jax.Array
    exponent: jax.Array


class PriorObjective(OneTermObjective):
    """The loss of a prior, of the same make as `objective.Objective`.

    Rows of data are {"posterior": [B, …], as the latent gives it}, with {"images": uint8 [B, H, W, C]} for a prior that
    sees revealed pixels and {"labels": int32 [B]} for one that sees classes.

    A prior that sees pixels learns p(z) beside p(z|m): for the share `prior.unconditional` of images m is left empty.

    **Arguments:** `config`: resolved; `image_shape`: (H, W, C); `num_classes`: of the labels, 0 without;
    `label_counts`: as of a `models.priors.CodePrior`.
    """

    @classmethod
    def of(cls, prior):
        """Returns the objective of a `LearnedPrior`."""
        return cls(prior.config, prior.image_shape, prior.num_classes, prior.label_counts)

    def __init__(self, config, image_shape, num_classes, label_counts=None):
        self.prior = build_prior(config, image_shape, num_classes, label_counts)
        self.latent = build_latent(config, image_shape)
        self.config = config
        self.image_shape = tuple(image_shape)
        self.settings = config.prior
        self.base_key = jax.random.fold_in(jax.random.key(config.seed), Purpose.PRIOR)
        self._conditional = config.prior.unconditional < 1
        self.codes_per_image = self.latent.codes_per_image

    def init(self, key):
        """Returns fresh variables: {"params": …, "batch_stats": …}."""
        return init_prior(self.prior, self.latent, self.config, self.image_shape, key)

    @property
    def knobs(self):
        """The config's `PriorKnobs`, as host arrays."""
        return PriorKnobs(knob(self.settings.unconditional), knob(self.config.conditioning.exponent))

    def training_loss(self, params, batch_stats, batch, noise_keys, mask_keys, knobs=None):
        """Returns the loss to be minimised, nats a code; returns and arguments as `Objective.training_loss`."""
        nats, batch_stats = self._training_nats(params, batch_stats, batch, noise_keys, mask_keys, knobs)
        loss = jnp.mean(nats) / self.codes_per_image
        return loss, (batch_stats, {"loss": loss})

    def training_terms(self, params, batch_stats, batch, noise_keys, mask_keys, knobs=None):
        """Returns the loss of each image, and the new batch statistics, as `Objective.training_terms`."""
        nats, batch_stats = self._training_nats(params, batch_stats, batch, noise_keys, mask_keys, knobs)
        return {"loss": nats / self.codes_per_image}, batch_stats

    def _training_nats(self, params, batch_stats, batch, noise_keys, mask_keys, knobs):
        m, knobs = None, self.knobs if knobs is None else knobs
        if self._conditional:
            m = self._revealed(batch["images"], mask_keys, knobs)
            chance = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 0)))(noise_keys)
            m = jnp.where((chance < knobs.unconditional)[:, None, None, None], 0.0, m)
        dropout_keys = jax.vmap(jax.random.fold_in, (0, None))(noise_keys, 1)
        nats, updates = self.prior.apply(
            {"params": params, "batch_stats": batch_stats},
            batch["posterior"],
            m,
            batch.get("labels"),
            dropout_keys,
            train=True,
            mutable=["batch_stats"],
            method="nats",
        )
        return nats, updates.get("batch_stats", {})

    def evaluation_terms(self, variables, batch, noise_keys, mask_keys, knobs=None):
        """Returns {"nats": of p(z), "nats_conditioned": of p(z|m)}, those that the prior has learned, float32 [B].

        With classes of p(y, z) and p(y, z|m), y the image's own: no less than those of z.
        """

        def nats(m):
            return self.prior.apply(variables, batch["posterior"], m, batch.get("labels"), method="nats")

        if not self._conditional:
            return {"nats": nats(None)}
        m = self._revealed(batch["images"], mask_keys, self.knobs if knobs is None else knobs)
        terms = {"nats_conditioned": nats(m)}
        return terms | ({"nats": nats(jnp.zeros_like(m))} if self.settings.unconditional > 0 else {})

    def metrics(self, means):
        """Returns `nats` and `nats_conditioned`, an image; of codes also a code; `loss`: their mean as training weighs
        them.
        """
        metrics = {name: float(mean) for name, mean in means.items()}
        if "loss" not in metrics:
            share = self.settings.unconditional
            parts = (share * metrics.get("nats", 0.0), (1.0 - share) * metrics.get("nats_conditioned", 0.0))
            metrics["loss"] = sum(parts) / self.codes_per_image
        for suffix in ("", "_conditioned"):
            if f"nats{suffix}" in metrics and self.codes_per_image > 1:
                metrics[f"nats_per_code{suffix}"] = metrics[f"nats{suffix}"] / self.codes_per_image
        return metrics

    def _revealed(self, images, mask_keys, knobs):
        images = intensities(images)
        return condition(images, draw_masks(self.config, mask_keys, *images.shape[1:3], exponent=knobs.exponent))
