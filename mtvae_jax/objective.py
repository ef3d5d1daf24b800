"""From a config to a loss: the objectives of thesis 2.1.2, 2.2.2, 3.2.2 and 3.2.3 as one function of the parameters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtvae_jax.balancing import SoftAdapt
from mtvae_jax.conditioning import condition, draw_masks
from mtvae_jax.losses import bits_per_dim, error_of_mean, mean_squared_error
from mtvae_jax.methods import METHODS
from mtvae_jax.models import init_variables
from mtvae_jax.ops.image_quality import psnr, ssim


@struct.dataclass
class Knobs:
    """What runs that share a compiled program may differ in: arguments of the program, not constants in it.

    `weights`: float [parts], one a part of the loss, in the order of `Objective.part_names`; `beta`: of the latent's
    own term; `exponent`: of the power law; `kl_warmup_epochs`: until β is what it says.
    """

    weights: jax.Array
    beta: jax.Array
    exponent: jax.Array
    kl_warmup_epochs: jax.Array


def knob(value):
    """Returns a number, or some, as a program's argument: a host array of JAX's float type."""
    return np.asarray(value, jnp.result_type(float))


def intensities(images):
    """Returns images at rest, uint8, as the model sees them: float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def reconstruct_unconditioned(model, method, image_shape, variables, z):
    """Returns x̂ from z alone, float32 [B, H, W, C]; None for a model that always needs revealed pixels."""
    if not method.unconditioned:
        return None
    height, width, channels = image_shape
    nothing = jnp.zeros((z.shape[0], height, width, channels + 1))
    unconditioned, conditioned = model.apply(variables, z, nothing, method="decode")
    return unconditioned if method.decoder else conditioned


class Objective:
    """The loss of a model and the terms it is made of: what `step`, `Evaluator` and `fit` train and judge.

    **Arguments:** `model`: a `MultitaskVAE`; `config`: resolved; `image_shape`: (H, W, C).
    **Attributes:** `settings`: the section of the config that says how to train; `base_key`: of all its randomness;
    `balancing`: the rule by which training weighs the parts of the loss, None where their weights are fixed.
    """

    def __init__(self, model, config, image_shape):
        self.model = model
        self.config = config
        self.image_shape = tuple(image_shape)
        self.method = METHODS[config.model.method]
        self.latent = model.latent
        self.settings = config.train
        self.base_key = jax.random.key(config.seed)
        self.balancing = _balancing(config.loss)

    def init(self, key):
        """Returns fresh variables: {"params": …, "batch_stats": …}."""
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
    def part_names(self):
        """The names of the loss's parts, which are weighed against each other: the latent's own term comes first."""
        return ["latent", *self.decoder_terms]

    @property
    def knobs(self):
        """The config's `Knobs`, as host arrays."""
        loss = self.config.loss
        return Knobs(
            weights=knob([1.0, *loss.weights]),
            beta=knob(loss.beta),
            exponent=knob(self.config.conditioning.exponent),
            kl_warmup_epochs=knob(loss.kl_warmup_epochs),
        )

    @property
    def term_shapes(self):
        """Name → shape of all that `training_loss` reports."""
        terms = {"loss": ()} | dict.fromkeys(self.decoder_terms, ()) | self.latent.term_shapes
        return terms | (dict.fromkeys(("nats_conditioned", "prediction"), ()) if self.config.prior.joint else {})

    @property
    def varying(self):
        """The names of evaluation terms whose variance over a split is reported."""
        return self.latent.varying

    def training_knobs(self, knobs, epoch, balance=None):
        """Returns `Knobs` as training has them at a time: β as far as it has risen, the user's weights times the
        adaptive ones.

        Evaluation has them as they are, so that epochs can be compared.

        **Arguments:** `epoch`: how many, whole or not, lie behind; `balance`: float [parts], the adaptive weights.
        """
        warmup = knobs.kl_warmup_epochs
        share = jnp.where(epoch < warmup, epoch / jnp.maximum(warmup, jnp.finfo(warmup.dtype).tiny), 1.0)
        weights = knobs.weights if balance is None else knobs.weights * balance
        return knobs.replace(beta=share * knobs.beta, weights=weights)

    def training_loss(self, params, batch_stats, batch, latent_keys, mask_keys, knobs=None):
        """Returns the loss to be minimised, on one device's share of the batch.

        **Arguments:** `batch`: {"images": uint8 [B, H, W, C]}; `latent_keys`, `mask_keys`: typed keys [B]; `knobs`:
        `Knobs`, may be traced, None for the config's.
        **Returns:** the scalar loss, and (new batch statistics, terms averaged over the images).
        """
        terms, batch_stats = self.training_terms(params, batch_stats, batch, latent_keys, mask_keys, knobs)
        terms = {name: jnp.mean(term, axis=0) for name, term in terms.items()}
        return terms["loss"], (batch_stats, terms)

    def training_terms(self, params, batch_stats, batch, latent_keys, mask_keys, knobs=None):
        """Returns the terms of each image as training has them, name → float32 [B, …], and the new batch statistics.

        **Arguments:** as `training_loss`.
        """
        images, knobs = intensities(batch["images"]), self.knobs if knobs is None else knobs
        output, updates = self.model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            self._condition(images, mask_keys, knobs),
            latent_keys,
            train=True,
            mutable=["batch_stats"],
        )
        return self._terms(output, images, knobs), updates.get("batch_stats", {})

    def after_update(self, before, params, batch_stats):
        """Returns what a latent changes besides the optimiser: new parameters and batch statistics.

        **Arguments:** `before`, `params`: before and after the optimiser's step.
        """
        latent, stats = self.latent.after_update(before["latent"], params["latent"], batch_stats.get("latent", {}))
        return params | {"latent": latent}, batch_stats | ({"latent": stats} if stats else {})

    def evaluation_terms(self, variables, batch, latent_keys, mask_keys, knobs=None):
        """Returns all metrics of each image, with running batch statistics.

        `reconstruction` is from z alone: by decoder 1, or by the single decoder with an empty mask (thesis 3.3).

        **Arguments:** as `training_loss`. **Returns:** name → float32 [B, …].
        """
        images, knobs = intensities(batch["images"]), self.knobs if knobs is None else knobs
        output = self.model.apply(variables, images, self._condition(images, mask_keys, knobs), latent_keys)
        terms = self._terms(output, images, knobs)
        reconstructions = {"": output.reconstruction, "_conditioned": output.reconstruction_conditioned}
        if self.method.empty_mask and not self.method.decoder:
            reconstructions[""] = self.reconstruct_unconditioned(variables, output.latent.z)
            terms["reconstruction"] = mean_squared_error(images, reconstructions[""])
        for suffix, reconstruction in reconstructions.items():
            if reconstruction is not None:
                terms[f"psnr{suffix}"] = psnr(terms[f"reconstruction{suffix}"])
                terms[f"ssim{suffix}"] = ssim(images, reconstruction)
        return terms | self.latent.statistics(output.latent.posterior)

    def metrics(self, means):
        """Returns what is reported, name → float, from the means of terms over a split or an epoch."""
        latent = self.latent.metrics(means, self.config.loss.beta)
        nats = latent.pop("nats")
        metrics = {name: float(mean) for name, mean in means.items() if np.ndim(mean) == 0}
        metrics = {name: value for name, value in metrics.items() if name not in self.latent.term_shapes}
        metrics |= {name: float(value) for name, value in latent.items()}
        for suffix in ("", "_conditioned"):
            if f"reconstruction{suffix}" in metrics:
                bits = bits_per_dim(metrics[f"reconstruction{suffix}"], nats, math.prod(self.image_shape))
                metrics[f"bits_per_dim{suffix}"] = float(bits)
        return metrics

    def findings(self, metrics):
        """Returns what is wrong with the latent by the validation metrics {"val/…": …}, a list of `Finding`."""
        return self.latent.findings(metrics)

    def conditioned_error(self, variables, batch, latent_keys, mask_keys, knobs, count):
        """Returns the reconstruction error of the conditional decoder with `count` pixels revealed, {"error": float32
        [B]}.

        `knobs` change nothing here.
        """
        images = intensities(batch["images"])
        masks = draw_masks(self.config, mask_keys, *images.shape[1:3], count=count)
        output = self.model.apply(variables, images, condition(images, masks), latent_keys)
        return {"error": mean_squared_error(images, output.reconstruction_conditioned)}

    def reconstruct_unconditioned(self, variables, z):
        """Returns x̂ from z alone, float32 [B, H, W, C]; None for a model that always needs revealed pixels."""
        return reconstruct_unconditioned(self.model, self.method, self.image_shape, variables, z)

    def parts(self, terms, beta):
        """Returns what the loss is a weighted sum of, in the order of `part_names`, from the terms of images or their
        means.
        """
        latent_terms = {name: terms[name] for name in self.latent.term_shapes}
        return [self.latent.objective(latent_terms, beta), *(terms[name] for name in self.decoder_terms)]

    def _condition(self, images, mask_keys, knobs):
        if not self.method.conditional_decoder:
            return None
        return condition(images, draw_masks(self.config, mask_keys, *images.shape[1:3], exponent=knobs.exponent))

    def _terms(self, output, images, knobs):
        # 1. Reconstruction, one term a decoder (3.2.2)
        terms = {name: mean_squared_error(images, getattr(output, name)) for name in self.decoder_terms}
        # 2. The latent's own term: β · KL, or codebook + β · commitment
        terms |= output.latent.terms
        parts = self.parts(terms, knobs.beta)
        # 3. Weigh them; the batch is averaged over by the caller, once
        loss = sum(weight * part for weight, part in zip(knobs.weights, parts, strict=True))
        # 4. p(z|m), where it is learned along: β · KL(q(z|x) ‖ p(z|m)), and the error of the mean of its draws
        if output.draws is not None:
            terms["nats_conditioned"] = output.prior_nats
            terms["prediction"] = error_of_mean(images, output.draws)
            loss += knobs.beta * terms["nats_conditioned"] + self.config.prior.prediction * terms["prediction"]
        return {"loss": loss} | terms


def _balancing(loss):
    if loss.balancing == "fixed":
        return None
    return SoftAdapt(
        variant=loss.softadapt_variant,
        slope=loss.softadapt_slope,
        beta=loss.softadapt_beta,
        window=loss.softadapt_window,
        every=loss.softadapt_every,
    )
