"""A learned prior p(z), p(z|m) beside the model that it belongs to: its objective, its samples, its place on disk."""

import copy
import functools
from pathlib import Path

import jax
import numpy as np

from mtvae_jax.config import prior_hash
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_latent
from mtvae_jax.models.priors import build_prior, init_prior
from mtvae_jax.workdir.checkpoints import read_checkpoint
from mtvae_jax.workdir.directory import read_json


# The network is an argument, so that all priors of one description share their programs.
@functools.partial(jax.jit, static_argnums=0)
def _sample(network, variables, keys, m, labels):
    return network.apply(variables, keys, m, labels, method="sample")


class LearnedPrior:
    """**Arguments:** `config`: resolved; `image_shape`: (H, W, C); `num_classes`: 0 without labels; `variables`: of the
    prior network, None before they are known; `label_counts`: how many training images have each label, None for a
    prior without classes, or one of an earlier version, which did not know.
    """

    def __init__(self, config, image_shape, num_classes, variables=None, label_counts=None):
        self.config = config
        self.image_shape = tuple(image_shape)
        self.num_classes = num_classes
        self.label_counts = label_counts
        self.variables = variables
        self.sees_pixels = config.prior.unconditional < 1
        self.knows_nothing_revealed = config.prior.unconditional > 0
        self.network = build_prior(config, image_shape, num_classes, label_counts, axis_name=None)

    @classmethod
    def within(cls, network, config, image_shape, variables):
        """Returns the p(z|m) that a model has learned along with the rest.

        **Arguments:** `network`, `variables`: the model's.
        """
        prior = cls(config, image_shape, 0, variables)
        prior.network = network
        return prior

    def with_variables(self, variables):
        """Returns the same prior at another point of its training."""
        prior = copy.copy(self)
        prior.variables = variables
        return prior

    def sample(self, keys, m=None, labels=None):
        """Returns what the model decodes, codes int32 [S·B, h, w] or z [S·B, Z], one from each key, for S draws.

        **Arguments:** `m`: float [B, H, W, C+1], None for nothing revealed; `labels`: int [B], where there are classes,
        None for labels from p(y|m).
        """
        if self.sees_pixels and m is None:
            height, width, channels = self.image_shape
            m = np.zeros((len(keys), height, width, channels + 1), np.float32)
        return _sample(self.network, self.variables, keys, m if self.sees_pixels else None, labels)

    def variable_shapes(self):
        """Returns shapes and types of its variables."""
        latent = build_latent(self.config, self.image_shape, axis_name=None)
        init = functools.partial(init_prior, self.network, latent, self.config, self.image_shape)
        return jax.eval_shape(init, jax.random.key(0))

    def rows(self, posterior, images, labels):
        """Returns arrays [N, …] as the objective wants their rows."""
        rows = {"posterior": posterior}
        if self.sees_pixels:
            rows["images"] = images
        if self.num_classes:
            rows["labels"] = labels
        return rows


def prior_directory(workdir, config, model_step):
    """Returns the folder of a run for the prior with these settings, on the model of this step."""
    return Path(workdir) / f"prior-{prior_hash(config, model_step)}"


def load_prior(workdir, config, image_shape, model_step):
    """Returns the `LearnedPrior` at its best epoch so far, None where it has not been trained for one."""
    directory = prior_directory(workdir, config, model_step)
    description = read_json(directory / "config.json")
    if description is None or not (directory / "checkpoints").exists():
        return None
    num_classes, label_counts = description.get("num_classes"), description.get("label_counts")
    if not isinstance(num_classes, int) or not _is_counts(label_counts, num_classes):
        raise UserError(f"{directory / 'config.json'}: is not that of a second stage; the command that trained it "
                        "writes it again")
    prior = LearnedPrior(config, image_shape, num_classes, label_counts=label_counts)
    found = read_checkpoint(directory / "checkpoints", prior.variable_shapes(), "best")
    return None if found is None else prior.with_variables(found[0])


def _is_counts(values, num_classes):
    if values is None:
        return True
    return isinstance(values, list) and len(values) == num_classes and all(isinstance(value, int) for value in values)
