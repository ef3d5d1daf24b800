"""Makes the page: the model's graph and weights, test images, and numbers that the browser checks itself by."""

import base64
import hashlib
import json
import warnings
from importlib import resources

import jax
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from mtvae_jax.conditioning import COUNTS, SAMPLINGS, draw_masks
from mtvae_jax.data import load_dataset
from mtvae_jax.data.loading import OWN
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.methods import METHODS
from mtvae_jax.page.networks import describe, require_supported
from mtvae_jax.trained.acquisition import LINEAR_SHARE
from mtvae_jax.trained.model import LEAST_VARIANCE, Model
from mtvae_jax.trained.prior import LearnedPrior

MOST_BYTES = 8_000_000  # of a page
NUM_IMAGES = 24  # to choose from
_KEY = 20240502  # of masks and noise
_CHECK_DRAWS = 2  # of each mask
_CHECK_SHARE = 0.1  # of the pixels, in the second mask; the first is empty
_TRAINING_MASKS = 4

# What runs in the worker
ENGINE = ("network", "model", "acquisition", "worker")

# Before anything is painted, or a dark page would begin with a flash
_THEME = """\
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
"""


def build(model, images, *, dataset, provenance):
    """Returns the page of a trained model, as text.

    Weights are float32 or, where the page would be too large, float16: then the page runs the model whose kernels are
    rounded so, and checks itself by that one.

    **Arguments:** `model`: a `Model` with a p(z|m); `images`: uint8 [N, H, W, C] to choose from; `dataset`: what they
    are called; `provenance`: where they come from.
    **Raises:** `UserError` for a model that a page does not support, or that is too large for one.
    """
    require_supported(model)
    model = _in_float32(model)
    for rounded in (False, True):
        page = _page(_with_rounded_kernels(model) if rounded else model, images, dataset, provenance, rounded)
        if len(page.encode()) <= MOST_BYTES:
            return page
    raise UserError(
        f"the page would have {number_of(len(page.encode()), 'byte')} in half precision, and {MOST_BYTES:,} is the "
        "most that one may have; train a model of fewer config.model.hidden_dims"
    )


def images_of(config, num=NUM_IMAGES):
    """Returns the first test images of the data that a run was trained on: uint8 [N, H, W, C], what they are called,
    and where they come from, which of a user's own file is not said.

    **Raises:** `UserError` where the data is not to be had.
    """
    data = config.data
    dataset = load_dataset(data.name, directory=data.dir, validation=data.validation, fold=data.fold,
                           num_folds=data.num_folds, max_train=data.max_train)
    own = data.name.startswith(tuple(OWN))
    return dataset.test[:num], dataset.name, "images of its maker's own" if own else dataset.provenance


def _page(model, images, dataset, provenance, rounded):
    program = describe(model, fold=not rounded)
    graph, weights = program.graph.pack()
    names = program._asdict()
    del names["graph"]
    config, (height, width, channels) = model.config, model.image_shape
    data = {
        "shape": [height, width, channels],
        "latentDim": config.model.latent_dim,
        "graph": graph,
        "names": names,
        "variance": max(config.loss.variance or 0.0, LEAST_VARIANCE),
        "linearShare": LINEAR_SHARE,
        "images": _base64(images, np.uint8),
        "masks": _base64(_training_masks(config, height, width), np.uint8),
        "check": _check(model, images[0]),
    }
    texts = {"theme": _THEME, "engine": _scripts(*ENGINE), "app": _scripts("paint", "app"), "style": _read("page.css")}
    environment = Environment(loader=PackageLoader("mtvae_jax.page", "."), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("template.html").render(
        **texts,
        hashes={name: _hash(f"\n{text}") for name, text in texts.items()},
        data=_json(data),
        weights=weights,
        dataset=dataset,
        provenance=provenance,
        method=config.model.method.replace("_", "-"),
        parameters=number_of(sum(leaf.size for leaf in jax.tree.leaves(_all_parameters(model))), "parameter"),
        rounded=rounded,
        constant=_constant(config, height * width),
        num_images=len(images),
        num_pixels=height * width,
        colour=channels == 3,
        width=width,
        height=height,
    )


def _all_parameters(model):
    params = model.variables["params"]
    return params if model.config.prior.joint else (params, model.prior.variables["params"])


def _in_float32(model):
    """The model with arithmetic in float32, which is what a page does."""
    config = model.config.copy_and_resolve_references()
    with config.unlocked():
        config.train.precision = config.prior.precision = "float32"
    prior = model.prior
    if not config.prior.joint:
        prior = LearnedPrior(config, model.image_shape, prior.num_classes, prior.variables, prior.label_counts)
    return Model(config.lock(), model.image_shape, model.variables, prior=prior, step=model.step)


def _with_rounded_kernels(model):
    """The model whose kernels are numbers of float16."""

    def rounded(variables):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: np.asarray(leaf).astype(np.float16).astype(np.float32)
            if path[-1].key == "kernel" else leaf,
            variables,
        )

    prior = None if model.config.prior.joint else model.prior.with_variables(rounded(model.prior.variables))
    model = model.with_variables(rounded(model.variables))
    return model if prior is None else model.with_prior(prior)


def _check(model, image):
    """Inputs, and what Python makes of them: arrays of float32 in base64, by name.

    Two masks; of each x̂ from z and m, and draws of p(x|m) from `noise` in place of the browser's own.
    """
    height, width, _ = model.image_shape
    key = jax.random.key(_KEY)
    masks = np.zeros((2, height, width, 1), bool)
    masks[1] = np.random.RandomState(_KEY).uniform(size=masks.shape[1:]) < _CHECK_SHARE
    images = image[None].astype(np.float32) / np.float32(255)
    both = np.repeat(images, 2, 0)
    with warnings.catch_warnings(action="ignore"), jax.default_matmul_precision("highest"):
        draws = model.sample(_CHECK_DRAWS, key, both, masks)
        expected = {
            "mean": model.encode(images),
            "alone": model.reconstruct(images),
            "conditioned": model.reconstruct(both, masks),
            "draws": draws.swapaxes(0, 1),
        }
    noise = np.stack([draw_noise(key, _CHECK_DRAWS, row, model.config.model.latent_dim) for row in range(2)])
    arrays = {"image": images, "masks": masks, "noise": noise} | expected
    return {name: _base64(array, np.float32) for name, array in arrays.items()}


def draw_noise(key, num, row, latent_dim):
    """Returns the standard normal noise [num, Z] by which `Model.sample(num, key, images, mask)` draws z for image
    `row`.
    """
    return np.stack([
        np.asarray(jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, draw), row), (latent_dim,)))
        for draw in range(num)
    ])


def _constant(config, num_pixels):
    """Which pixels training reveals, in words, None where it reveals any number of them."""
    law, sampling = COUNTS[METHODS[config.model.method].counts], SAMPLINGS[config.conditioning.sampling]
    if not law.constant or sampling.any_number(law):
        return None
    return f"{law.describe(config.conditioning, num_pixels)}, {sampling.describe(config.conditioning)}"


def _training_masks(config, height, width):
    """Some masks of training, bool [N, H, W, 1]."""
    return np.asarray(draw_masks(config, jax.random.split(jax.random.key(_KEY), _TRAINING_MASKS), height, width))


def _base64(array, dtype):
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _json(values):
    """JSON that no HTML parser takes for the end of its element."""
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text):
    """By which a content security policy lets a script or style of just this text in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _scripts(*names):
    """Some of the page's scripts as one, each strict."""
    strict = '"use strict";\n'
    return strict + "".join(_read(f"{name}.js").removeprefix(strict) for name in names)


def _read(name):
    return (resources.files("mtvae_jax.page") / name).read_text(encoding="utf-8")
