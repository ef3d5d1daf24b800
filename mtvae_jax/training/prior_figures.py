"""The figures of the second stage, beside those of the first: samples, and draws given revealed pixels."""

from pathlib import Path

import jax
import numpy as np

from mtvae_jax.conditioning import draw_masks
from mtvae_jax.config import model_name
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.randomness import image_keys
from mtvae_jax.training.run_figures import save_pictures

_NUM_SAMPLES, _NUM_IMAGES, _NUM_DRAWS = 32, 6, 16
_KEY = 37  # the same images, masks and noise in every figure of every run


class PriorFigures:
    """Draws what the prior generates at a point of its training.

    **Arguments:** `directory`: for the pictures; `model`: the frozen one; `prior`: a `LearnedPrior`; `dataset`: whose
    validation images lend their pixels.
    """

    def __init__(self, directory, model, prior, dataset):
        self.every = model.config.train.figures_every  # epochs
        self._directory = Path(directory)
        self._model = model
        self._prior = prior
        self._images = dataset.validation[:_NUM_IMAGES].astype(np.float32) / 255.0
        self._title = f"{model_name(model.config)}, {dataset.name}"
        self._key = jax.random.key(_KEY)

    def __call__(self, variables, log, *, epoch):
        """Writes or replaces every picture; arguments as `RunFigures`."""
        from mtvae_jax import figures

        model = self._model.with_prior(self._prior.with_variables(variables))
        title = f"{self._title}, epoch {epoch} of the prior"
        latent = LATENTS[model.config.model.latent]
        unit = "nats an image" if latent.prior == "gaussian" else "nats a code"
        curves = figures.loss_curves(log.records, title=f"{self._title}: second stage", loss_unit=unit)
        pictures = {"prior_curves": curves}
        if model.method.unconditioned and self._prior.knows_nothing_revealed:
            samples = model.sample(_NUM_SAMPLES, self._key)
            pictures["samples"] = figures.samples(samples, title=f"{title}: samples")
            if self._prior.num_classes:
                seen = np.arange(self._prior.num_classes)
                if self._prior.label_counts is not None:
                    seen = seen[np.asarray(self._prior.label_counts) > 0]
                labels = np.resize(seen, _NUM_SAMPLES)
                by_class = model.sample(_NUM_SAMPLES, self._key, labels=labels)
                pictures["samples_by_class"] = figures.samples(by_class, title=f"{title}: the classes in turn")
        if model.method.conditional_decoder and self._prior.sees_pixels:
            masks = self._masks()
            draws = model.sample(_NUM_DRAWS, self._key, self._images, masks)
            pictures["draws"] = figures.draws(self._images, masks, draws, title=f"{title}: draws given m")
        save_pictures(pictures, self._directory, log)

    def _masks(self):
        """Drawn as in training; but where their number is random, 49 pixels, a number that shows."""
        keys = image_keys(self._key, len(self._images))
        count = self._model.config.conditioning.num_pixels if self._model.method.empty_mask else None
        return np.asarray(draw_masks(self._model.config, keys, *self._images.shape[1:3], count=count))
