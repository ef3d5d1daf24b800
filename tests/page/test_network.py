"""The model in a browser's language says what it says in Python: carried out by node, compared with Flax."""

import base64
import functools
import json
import shutil
import subprocess

import jax
import numpy as np
import pytest
from small_runs import ROOT, small_config

from mtvae_jax.config import resolve
from mtvae_jax.models import build_latent, build_model, init_variables
from mtvae_jax.models.priors import init_prior
from mtvae_jax.page.build import build, draw_noise
from mtvae_jax.page.networks import describe
from mtvae_jax.trained.acquisition import greedy_pixels
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node, which carries out the page's code")
PAGE = ROOT / "mtvae_jax" / "page"
KEY = jax.random.key(5)
SHAPES = [(28, 28, 1), (13, 9, 3)]
DRAWS = 5


def in_node(**question):
    """What tests/page/harness.js answers."""
    scripts = [str(PAGE / "network.js"), str(PAGE / "model.js")]
    command = [NODE, str(ROOT / "tests" / "page" / "harness.js"), *scripts]
    result = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def base64_of(array):
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def floats(text, shape):
    return np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)


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
    variables = init_prior(prior._network, build_latent(config, shape), config, shape, KEY)
    return model.with_prior(prior.with_variables(randomised(variables)))


def image_and_masks(shape):
    generator = np.random.default_rng(4)
    masks = np.stack([np.zeros((*shape[:2], 1), bool), generator.uniform(size=(*shape[:2], 1)) < 0.2])
    return generator.integers(0, 256, shape).astype(np.uint8), masks


def compare(model, fold=True):
    """The greatest difference between JavaScript and Python, over all that a page shows."""
    shape = model.image_shape
    image, masks = image_and_masks(shape)
    program = describe(model, fold=fold)
    graph, weights = program.graph.pack()
    names = {name: value for name, value in program._asdict().items() if name != "graph"}
    noise = draw_noise(KEY, DRAWS, 0, model.config.model.latent_dim)
    answer = in_node(
        page={"shape": shape, "latentDim": noise.shape[1], "graph": graph, "names": names},
        weights=weights, image=base64_of(image / np.float32(255)), masks=[base64_of(mask) for mask in masks],
        noise=base64_of(noise),
    )
    pairs = [(answer["mean"], model.encode(image[None])), (answer["alone"], model.reconstruct(image[None]))]
    for n, mask in enumerate(masks):
        pairs.append((answer["conditioned"][n], model.reconstruct(image[None], mask)))
        pairs.append((answer["draws"][n], model.sample(DRAWS, KEY, image[None], mask)))
    assert all(np.std(expected) > 1e-3 for _, expected in pairs)  # or nothing would be compared
    return max(np.abs(floats(ours, expected.shape) - expected).max() for ours, expected in pairs)


@pytest.mark.filterwarnings("ignore:mask")
@pytest.mark.parametrize("joint", [True, False], ids=["joint", "second-stage"])
@pytest.mark.parametrize("merge", ["dense", "spatial", "context"])
@pytest.mark.parametrize("method", ["single_decoder", "multi_decoder"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_javascript_equals_python(shape, method, merge, joint):
    assert compare(model_of(shape, method, merge, joint)) < 1e-4
