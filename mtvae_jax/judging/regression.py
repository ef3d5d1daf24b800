"""The rival that learns: hidden pixels by direct regression on the revealed ones, without a z."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mtvae_jax.conditioning import condition, draw_masks
from mtvae_jax.losses import mean_squared_error
from mtvae_jax.models import build_model
from mtvae_jax.models.context import ContextNetwork
from mtvae_jax.models.decoder import Decoder
from mtvae_jax.objective import intensities, knob
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.loop import fit
from mtvae_jax.training.one_term import OneTermObjective
from mtvae_jax.training.start import start_from_data

_IMAGES_AT_ONCE = 250


class RegressionNetwork(nn.Module):
    """A U-shaped network of the parts that `model.merge="context"` has: m [B, H, W, C+1] → x̂ float32 [B, H, W, C]."""

    context: ContextNetwork
    decoder: Decoder

    def __call__(self, m, train=False):
        nothing = jnp.zeros((len(m), 1))  # in the place of z
        return self.decoder(nothing, self.context(m, train), train=train)


def build_regression(config, image_shape):
    """Returns the network that sees what the conditional decoder of `config` with `model.merge="context"` sees, and as
    wide.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.update({"merge": "context", "head": "full", "latent": "gaussian", "method": "single_decoder"})
        config.prior.joint = False
    model = build_model(config, image_shape)
    return RegressionNetwork(model.context, model.conditional_decoder)


class RegressionObjective(OneTermObjective):
    """Mean squared error of x̂(m), in training with the masks of a run; of the same make as `objective.Objective`.

    **Arguments:** `config`: resolved, of the run to be compared with; `image_shape`: (H, W, C).
    """

    def __init__(self, config, image_shape):
        self.config, self.settings, self.image_shape = config, config.train, tuple(image_shape)
        self.network = build_regression(config, image_shape)
        self.base_key = jax.random.key(config.seed)

    def init(self, key):
        height, width, channels = self.image_shape
        m = jnp.zeros((1, height, width, channels + 1))
        return {"batch_stats": {}} | jax.jit(lambda key: self.network.init(key, m, train=True))(key)

    @property
    def knobs(self):
        return knob(self.config.conditioning.exponent)

    def training_terms(self, params, batch_stats, batch, noise_keys, mask_keys, knobs=None):
        images, m = self._seen(batch, mask_keys, knobs)
        variables = {"params": params, "batch_stats": batch_stats}
        predicted, updates = self.network.apply(variables, m, train=True, mutable=["batch_stats"])
        return {"loss": mean_squared_error(images, predicted)}, updates.get("batch_stats", {})

    def evaluation_terms(self, variables, batch, noise_keys, mask_keys, knobs=None):
        images, m = self._seen(batch, mask_keys, knobs)
        return {"loss": mean_squared_error(images, self.network.apply(variables, m))}

    def metrics(self, means):
        return {name: float(mean) for name, mean in means.items()}

    def _seen(self, batch, mask_keys, knobs):
        images = intensities(batch["images"])
        exponent = self.knobs if knobs is None else knobs
        return images, condition(images, draw_masks(self.config, mask_keys, *self.image_shape[:2], exponent=exponent))


class Regression:
    """The trained rival; called as those of `rivals`. **Arguments:** `network`; `variables`: host arrays."""

    def __init__(self, network, variables):
        self._variables = jax.device_put(variables)
        self._predict = jax.jit(lambda variables, images, masks: network.apply(variables, condition(images, masks)))

    def __call__(self, images, masks):
        num, predicted = len(images), []
        for start in range(0, num, _IMAGES_AT_ONCE):
            rows = np.minimum(np.arange(start, start + _IMAGES_AT_ONCE), num - 1)  # the tail repeats the last one
            predicted.append(np.asarray(self._predict(self._variables, images[rows], masks[rows])))
        return np.concatenate(predicted)[:num]


def train_regression(config, dataset, directory, **loop):
    """Trains the rival as long as the run of `config`, on the same images and masks, or goes on with it.

    **Arguments:** `config`: resolved; `dataset`; `directory`: for its checkpoints and metrics; `loop`: further
    arguments of `mtvae_jax.training.loop.fit`.
    **Returns:** a `Regression` at its best epoch.
    """
    objective = RegressionObjective(config, dataset.image_shape)
    data, validation = {"images": dataset.train}, {"images": dataset.validation}
    fitted = fit(objective, data, validation, directory, section="train", clock=Clock(),
                 start=start_from_data(objective, dataset.train), **loop)
    network = build_regression(config, dataset.image_shape)
    return Regression(network, fitted.variables)
