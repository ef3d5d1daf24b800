"""The figures of one run, in its folder `figures/`."""

from pathlib import Path

import jax
import numpy as np

from mtvae_jax.conditioning import SAMPLINGS, draw_masks, exact_grid_mask
from mtvae_jax.config import model_name
from mtvae_jax.errors import number_of
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.randomness import image_keys
from mtvae_jax.trained.model import Model

_NUM_IMAGES, _NUM_SAMPLES = 8, 32
_KEY = 31  # the same images, masks and noise in every figure of every run


class RunFigures:
    """Draws what a run looks like at a point of its training.

    **Arguments:** `directory`: for the pictures; `config`: resolved; `dataset`: whose validation images are shown.
    """

    def __init__(self, directory, config, dataset):
        self.every = config.train.figures_every  # epochs
        self._directory = Path(directory)
        self._config = config
        self._images = dataset.validation[:_NUM_IMAGES].astype(np.float32) / 255.0
        self._title = f"{model_name(config)}, {dataset.name}"
        self._model = Model(config, dataset.image_shape, None)
        self._key = jax.random.key(_KEY)

    def __call__(self, variables, log, *, epoch):
        """Writes or replaces every picture.

        **Arguments:** `variables`: of the model at the end of `epoch`, host arrays; `log`: the run's `MetricLog`, whose
        records are plotted.
        """
        from mtvae_jax import figures  # matplotlib takes a second that the first training step need not wait for

        model = self._model.with_variables(variables)
        title = f"{self._title}, epoch {epoch}"
        pictures = {
            "reconstructions": self._reconstructions(figures, model, title),
            "loss_curves": figures.loss_curves(log.records, title=self._title),
        }
        if LATENTS[self._config.model.latent].knows_prior:  # others have none before the second stage
            pictures["samples"] = self._samples(figures, model, title)
        if model.method.conditional_decoder:
            pictures["sampling_types"] = self._sampling_types(figures)
        save_pictures(pictures, self._directory, log)

    def _masks(self):
        keys = image_keys(self._key, len(self._images))
        return np.asarray(draw_masks(self._config, keys, *self._images.shape[1:3]))

    def _reconstructions(self, figures, model, title):
        masks = unconditioned = conditioned = None
        if model.method.unconditioned:
            unconditioned = model.reconstruct(self._images)
        if model.method.conditional_decoder:
            masks = self._masks()
            conditioned = model.reconstruct(self._images, masks)
        return figures.reconstructions(self._images, masks, unconditioned, conditioned, title=title)

    def _samples(self, figures, model, title):
        if model.method.unconditioned:
            return figures.samples(model.sample(_NUM_SAMPLES, self._key), title=f"{title}: z from the prior")
        draws = model.sample(_NUM_SAMPLES // _NUM_IMAGES, self._key, self._images, self._masks())
        draws = draws.reshape(-1, *draws.shape[2:])
        known = number_of(len(self._images), "image")
        return figures.samples(draws, title=f"{title}: z from the prior, pixels of {known} known")

    def _sampling_types(self, figures):
        masks = sampling_type_masks(self._config.conditioning, *self._images.shape[1:3])
        return figures.sampling_types(self._images[0], masks, title="Sampling types")


def save_pictures(pictures, directory, log):
    """Writes or replaces NAME.png for each of {name: figure}, and adds them to the run's `MetricLog`."""
    from mtvae_jax import figures

    for name, figure in pictures.items():
        path = directory / f"{name}.png"
        figures.save(figure, path)
        log.image(name, path, log.records[-1]["step"])


def sampling_type_masks(settings, height, width):
    """Draws a mask of each sampling type, all of about as many pixels as the grid has (thesis figure 3.6).

    **Arguments:** `settings`: the section `conditioning` of a config. **Returns:** title → bool [H, W, 1].
    """
    keys = image_keys(jax.random.key(_KEY), 1)
    counts = exact_grid_mask(height, width, settings.grid_stride).sum()[None]
    return {
        sampling.title: np.asarray(sampling.draw(keys, counts, height, width, settings))[0]
        for sampling in SAMPLINGS.values()
    }
