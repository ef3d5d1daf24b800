"""Objectives of one term: there is nothing to weigh, and the optimiser alone changes the parameters."""

import jax.numpy as jnp


class OneTermObjective:
    """What such objectives have in common with `objective.Objective`, which says what each is for.

    A subclass has `config`, `settings`, `image_shape`, `base_key`, `knobs`, `init`, `training_terms`, whose one term is
    "loss", `evaluation_terms` and `metrics`.
    """

    balancing = None
    varying = ()
    term_shapes = {"loss": ()}  # noqa: RUF012

    def training_knobs(self, knobs, epoch, balance=None):
        return knobs

    def training_loss(self, params, batch_stats, batch, noise_keys, mask_keys, knobs=None):
        """Returns the loss to be minimised; returns and arguments as `Objective.training_loss`."""
        terms, batch_stats = self.training_terms(params, batch_stats, batch, noise_keys, mask_keys, knobs)
        loss = jnp.mean(terms["loss"])
        return loss, (batch_stats, {"loss": loss})

    def after_update(self, before, params, batch_stats):
        return params, batch_stats

    def findings(self, metrics):
        return []
