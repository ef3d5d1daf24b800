"""What the runs of a study look like: the images of thesis figures 3.6, 4.1 and 4.3."""

import jax
import numpy as np

from mtvae_jax.conditioning import draw_masks
from mtvae_jax.randomness import image_keys
from mtvae_jax.study.factors import Factors, config_of
from mtvae_jax.study.report import Pictures, SamplingTypes
from mtvae_jax.study.tasks import dataset_of
from mtvae_jax.trained.model import load
from mtvae_jax.training.run_figures import sampling_type_masks

_FIGURES = {"gaussian": "4.1", "vq": "4.3"}
_NUM_IMAGES = 8
_KEY = 31  # the same images and masks in every report


def both_reconstructions(tasks):
    """Returns `Pictures` of the first complete multi-decoder run of each latent and dataset whose checkpoints are
    there.
    """
    shown = {}
    for factors, task in tasks.items():
        where = factors.latent, factors.dataset
        if factors.method == "multi_decoder" and where not in shown and _is_usual(factors) and _loadable(task):
            shown[where] = _pictures(factors, task)
    return tuple(shown.values())


def sampling_types(protocol):
    """Figure 3.6, on the first test image of the protocol's first dataset."""
    config = config_of(Factors(dataset=protocol.datasets[0], latent="gaussian", method="multi_decoder"), protocol)
    dataset = dataset_of(config)
    image = dataset.test[0].astype(np.float32) / 255.0
    masks = sampling_type_masks(config.conditioning, *image.shape[:2])
    return SamplingTypes(dataset=protocol.datasets[0], image=image, masks=masks)


def _loadable(task):
    """The records of a run, without its checkpoints, are enough for all but its pictures."""
    return task.complete and (task.workdir / "checkpoints").is_dir()


def _is_usual(factors):
    usual = Factors(dataset=factors.dataset, latent=factors.latent, method=factors.method, seed=factors.seed)
    return factors == usual


def _pictures(factors, task):
    model = load(task.workdir)
    images = dataset_of(task.config).test[:_NUM_IMAGES].astype(np.float32) / 255.0
    masks = np.asarray(draw_masks(model.config, image_keys(jax.random.key(_KEY), len(images)), *images.shape[1:3]))
    return Pictures(
        figure=_FIGURES[factors.latent],
        dataset=factors.dataset,
        model=str(factors),
        images=images,
        masks=masks,
        reconstruction=np.asarray(model.reconstruct(images)),
        reconstruction_conditioned=np.asarray(model.reconstruct(images, masks)),
    )
