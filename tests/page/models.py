"""Untrained models with random numbers everywhere, and node, which carries out the code of a page."""

import base64
import functools
import json
import shutil
import subprocess

import jax
import numpy as np
from small_runs import ROOT, small_config

from mtvae_jax.config import resolve
from mtvae_jax.models import build_latent, build_model, init_variables
from mtvae_jax.models.priors import init_prior
from mtvae_jax.page.build import ENGINE, build
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior

NODE = shutil.which("node")
KEY = jax.random.key(5)


def in_node(**question):
    """What tests/page/harness.js answers."""
    scripts = [str(ROOT / "mtvae_jax" / "page" / f"{name}.js") for name in ENGINE]
    command = [NODE, str(ROOT / "tests" / "page" / "harness.js"), *scripts]
    result = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def base64_of(array):
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def randomised(variables):
    """The same shapes with every number moved: no bias is 0, no statistic that of no training."""
    generator = np.random.default_rng(3)

    def moved(path, leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "var":
            return np.exp(0.5 * noise)
        return np.asarray(leaf) + 0.1 * noise * (2 if path[-1].key in ("bias", "mean") else 1)

    return jax.tree_util.tree_map_with_path(moved, variables)


@functools.cache
def model_of(shape, method, merge, joint, **settings):
    settings = {"model__merge": merge, "prior__joint": joint, "prior__epochs": 0 if joint else 1} | settings
    config = resolve(small_config(method, **settings), shape)
    model = Model(config, shape, randomised(init_variables(build_model(config, shape), KEY, shape)))
    if joint:
        return model
    prior = LearnedPrior(config, shape, 0)
    variables = init_prior(prior.network, build_latent(config, shape), config, shape, KEY)
    return model.with_prior(prior.with_variables(randomised(variables)))


def image_and_masks(shape):
    generator = np.random.default_rng(4)
    masks = np.stack([np.zeros((*shape[:2], 1), bool), generator.uniform(size=(*shape[:2], 1)) < 0.2])
    return generator.integers(0, 256, shape).astype(np.uint8), masks


def built(model, **settings):
    return build(model, image_and_masks(model.image_shape)[0][None], dataset="noise", provenance="a test", **settings)


def page_data(html):
    """The data and the weights that a page carries along."""
    parts = [html.split(f'id="{name}">')[1].split("</script>")[0] for name in ("data", "weights")]
    return json.loads(parts[0]), parts[1]
