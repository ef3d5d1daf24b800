"""What a trained model is for: encoding, reconstructing and sampling images."""

import copy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mtvae_jax.checkpoints import Checkpoints
from mtvae_jax.conditioning import condition, image_keys
from mtvae_jax.config import from_dict
from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.step import init_state
from mtvae_jax.workdir import read_run

_BATCH = 256


class Model:
    """A trained model.

    **Arguments:** `config`: resolved; `image_shape`: (H, W, C); `variables`: {"params": …, "batch_stats": …}.

    Methods take images as float [N, H, W, C] in [0, 1] or uint8, masks as bool [N, H, W, 1] or [H, W, 1], and return
    numpy arrays; any N works, in batches.
    """

    def __init__(self, config, image_shape, variables):
        self.config = config
        self.image_shape = tuple(image_shape)
        self.variables = variables
        self.method = METHODS[config.model.method]
        objective = Objective(build_model(config, image_shape, axis_name=None), config, self.image_shape)
        apply = objective.model.apply
        # With the variables as an argument, so that `with_variables` compiles nothing.
        self._encode = jax.jit(lambda variables, images, keys: apply(variables, images, keys, method="encode").z)
        self._decode_z = jax.jit(objective.reconstruct_unconditioned)
        self._decode_z_m = jax.jit(lambda variables, z, m: apply(variables, z, m, method="decode")[1])
        self._prior_z = jax.jit(
            lambda variables, key, num: apply(variables, key, num, method="prior_sample"), static_argnums=2
        )

    def with_variables(self, variables):
        """The same model at another point of its training."""
        model = copy.copy(self)
        model.variables = variables
        return model

    def encode(self, images, key=None):
        """z of each image, float32 [N, …]: the posterior's mean, or a draw from it with `key`."""
        images = self._images(images)
        return self._batched(self._encode, images, self._keys(key, len(images)))

    def reconstruct(self, images, mask=None, num_samples=1, key=None):
        """x̂ of each image: from z alone, or with `mask` from z and the revealed pixels (thesis 3.2, 3.3).

        **Arguments:** `mask`: which pixels the decoder sees; `num_samples`: draws of z an image; `key`: for the draws;
        None takes z at the posterior's mean.
        **Returns:** float32 [N, H, W, C], or [num_samples, N, H, W, C] for more than one.
        **Raises:** `UserError` for a mask that the model cannot use, or cannot do without.
        """
        images = self._images(images)
        if not isinstance(num_samples, int) or num_samples < 1:
            raise UserError(f"num_samples = {num_samples!r}: must be an integer of at least 1")
        if num_samples > 1 and key is None:
            raise UserError(f"num_samples = {num_samples}: several draws need a key, such as jax.random.key(0)")
        m = self._revealed(images, mask)
        draws = []
        for sample in range(num_samples):
            keys = self._keys(None if key is None else jax.random.fold_in(key, sample), len(images))
            z = self._batched(self._encode, images, keys)
            draws.append(self._decode(z, m))
        return draws[0] if num_samples == 1 else np.stack(draws)

    def sample(self, n, key, images=None, mask=None):
        """Images decoded from draws of z from the prior; the decoder sees the pixels of `images` that `mask` reveals.

        **Arguments:** `n`: number of draws; `key`: typed key; `images`, `mask`: both or neither.
        **Returns:** float32 [n, H, W, C], or with `images` [n, N, H, W, C].
        **Raises:** `UserError` for a model that cannot do without revealed pixels, and as `reconstruct`.
        """
        if not isinstance(n, int) or n < 1:
            raise UserError(f"n = {n!r}: must be an integer of at least 1")
        if (images is None) != (mask is None):
            raise UserError("sample: images and mask say together which pixels are known; give both or neither")
        if images is None:
            self._revealed(np.zeros((0, *self.image_shape), np.float32), None)
            return self._decode(self._prior(key, n), None)
        images = self._images(images)
        m = self._revealed(images, mask)
        return np.stack([self._decode(self._prior(jax.random.fold_in(key, i), len(images)), m) for i in range(n)])

    def _prior(self, key, num):
        return np.asarray(self._prior_z(self.variables, key, num))

    def _decode(self, z, m):
        if m is None:
            return self._batched(self._decode_z, z)
        return self._batched(self._decode_z_m, z, m)

    def _keys(self, key, num):
        return None if key is None else image_keys(key, num)

    def _revealed(self, images, mask):
        """m of the images for the conditional decoder, None for reconstruction from z alone."""
        name = self.config.model.method
        if mask is None:
            if not self.method.unconditioned:
                raise UserError(f"mask = None: a {name} model always needs revealed pixels; give a mask [N, H, W, 1]")
            return None
        if not self.method.conditional_decoder:
            raise UserError(f"mask: a {name} model has no decoder that sees pixels; leave the mask out")
        mask = np.asarray(mask)
        height, width, _ = self.image_shape
        allowed = (len(images), height, width, 1), (height, width, 1)
        if mask.shape not in allowed:
            raise UserError(f"mask: has shape {mask.shape}, must be {allowed[0]} or {allowed[1]}")
        if not np.isin(mask, (0, 1)).all():
            raise UserError("mask: must be True or 1 where a pixel is revealed and False or 0 elsewhere")
        return np.asarray(condition(jnp.asarray(images), jnp.asarray(mask)))

    def _images(self, images):
        images = np.asarray(images)
        if images.shape[1:] != self.image_shape or images.ndim != 4 or len(images) == 0:
            shape = ", ".join(map(str, self.image_shape))
            raise UserError(f"images: have shape {images.shape}, must be (N, {shape}) with N at least 1")
        if images.dtype == np.uint8:
            return images.astype(np.float32) / 255.0
        if images.dtype.kind != "f" or not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
            raise UserError("images: must be uint8, or floats in [0, 1]")
        return images.astype(np.float32)

    def _batched(self, function, *arrays):
        """Applies `function` to batches of one size, so that it is compiled once; the repeats are cut off."""
        num = len(arrays[0])
        results = []
        for start in range(0, num, _BATCH):
            rows = np.minimum(np.arange(start, start + min(_BATCH, num)), num - 1)  # the tail repeats the last one
            batch = [None if array is None else array[rows] for array in arrays]
            results.append(np.asarray(function(self.variables, *batch)))
        return np.concatenate(results)[:num]


def load(workdir, which="best"):
    """The model that a run trained.

    **Arguments:** `workdir`: a run's work directory; `which`: "best" by validation loss, or "latest".
    **Returns:** a `Model`.
    **Raises:** `UserError` where there is no such run or no checkpoint yet.
    """
    if which not in ("best", "latest"):
        raise UserError(f"which = {which!r}: must be 'best' or 'latest'")
    workdir = Path(workdir)
    run = read_run(workdir)
    config = from_dict(run["config"])
    image_shape = tuple(run["data"]["image_shape"])
    objective = Objective(build_model(config, image_shape), config, image_shape)
    template = jax.eval_shape(lambda: init_state(objective, make_optimizer(config, steps_per_epoch=1)))
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    try:
        step = checkpoints.best_step if which == "best" else checkpoints.latest_step
        if step is None:
            raise UserError(f"{workdir / 'checkpoints'}: no checkpoint yet; train the model for an epoch first")
        state, _ = checkpoints.restore(template, step)
    finally:
        checkpoints.close()
    return Model(config, image_shape, state.eval_variables)
