"""A learned prior p(z), p(z|m) beside the model that it belongs to: its objective, its samples, its place on disk."""

import copy
import functools
import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.config import prior_settings
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model, grid_size
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.models.priors import build_prior
from mtvae_jax.prior_objective import PriorObjective
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.step import init_state
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
        self._network = self._module(None)

    def with_variables(self, variables):
        """The same prior at another point of its training."""
        prior = copy.copy(self)
        prior.variables = variables
        return prior

    def sample(self, keys, m=None, labels=None):
        """What the model decodes, codes int32 [B, h, w] or z [B, Z], image b from `keys[b]`.

        **Arguments:** `m`: float [B, H, W, C+1], None for nothing revealed; `labels`: int [B], where there are classes,
        None for labels from p(y|m).
        """
        if self.sees_pixels and m is None:
            height, width, channels = self.image_shape
            m = np.zeros((len(keys), height, width, channels + 1), np.float32)
        return _sample(self._network, self.variables, keys, m if self.sees_pixels else None, labels)

    def objective(self):
        """The `PriorObjective` to train it by."""
        model = build_model(self.config, self.image_shape, axis_name=None)

        def posterior():
            images = jnp.zeros((1, *self.image_shape))
            m = jnp.zeros((1, *self.image_shape[:2], self.image_shape[2] + 1))
            return model.init_with_output(jax.random.key(0), images, m)[0].latent.posterior[0]

        return PriorObjective(self._module(BATCH_AXIS), self.config, self.image_shape, jax.eval_shape(posterior))

    def rows(self, posterior, images, labels):
        """Arrays [N, …] as the objective wants their rows."""
        rows = {"posterior": posterior}
        if self.sees_pixels:
            rows["images"] = images
        if self.num_classes:
            rows["labels"] = labels
        return rows

    def _module(self, axis_name):
        grid = grid_size(self.config, self.image_shape)
        return build_prior(
            self.config, self.image_shape, grid, self.num_classes, self.label_counts, axis_name=axis_name
        )


def prior_directory(workdir, config, model_step):
    """The folder of a run for the prior with these settings, on the model of this step."""
    values = {"prior": prior_settings(config), "model_step": model_step}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return Path(workdir) / f"prior-{digest}"


def load_prior(workdir, config, image_shape, model_step):
    """The `LearnedPrior` at its best epoch so far, None where it has not been trained for one."""
    directory = prior_directory(workdir, config, model_step)
    description = read_json(directory / "config.json")
    if description is None or not (directory / "checkpoints").exists():
        return None
    num_classes, label_counts = description.get("num_classes"), description.get("label_counts")
    if not isinstance(num_classes, int) or not _is_counts(label_counts, num_classes):
        raise UserError(f"{directory / 'config.json'}: is not that of a second stage; the command that trained it "
                        "writes it again")
    prior = LearnedPrior(config, image_shape, num_classes, label_counts=label_counts)
    objective = prior.objective()
    template = jax.eval_shape(lambda: init_state(objective, make_optimizer(config.prior, steps_per_epoch=1)))
    found = read_checkpoint(directory / "checkpoints", template, "best")
    return None if found is None else prior.with_variables(found[0].eval_variables)


def _is_counts(values, num_classes):
    if values is None:
        return True
    return isinstance(values, list) and len(values) == num_classes and all(isinstance(value, int) for value in values)
