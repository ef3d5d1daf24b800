"""The model in a browser's language says what it says in Python: carried out by node, compared with Flax."""

import base64

import numpy as np
import pytest
from page.models import KEY, NODE, base64_of, built, image_and_masks, in_node, model_of, page_data

from mtvae_jax.conditioning import condition
from mtvae_jax.models.factors import covariance_root
from mtvae_jax.page.build import draw_noise
from mtvae_jax.page.networks import describe
from mtvae_jax.trained.acquisition import LINEAR_SHARE, greedy_pixels

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node, which carries out the page's code")
SHAPES = [(28, 28, 1), (13, 9, 3)]
DRAWS = 5


def floats(text, shape):
    return np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)


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
        if model.config.model.factors:
            guess = model.variables["batch_stats"]["context"]["guess"]
            m = condition(image[None] / np.float32(255), mask)
            pairs.append((answer["roots"][n], covariance_root(m, guess["loadings"], guess["noise"].reshape(-1))))
    assert all(np.std(expected) > 1e-3 for _, expected in pairs)  # or nothing would be compared
    # Of NaN the maximum is NaN, and not below anything.
    return np.max([np.abs(floats(ours, expected.shape) - expected).max() for ours, expected in pairs])


@pytest.mark.filterwarnings("ignore:mask")
@pytest.mark.parametrize("joint", [True, False], ids=["joint", "second-stage"])
@pytest.mark.parametrize("merge", ["dense", "spatial", "context"])
@pytest.mark.parametrize("method", ["single_decoder", "multi_decoder"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_javascript_equals_python(shape, method, merge, joint):
    assert compare(model_of(shape, method, merge, joint)) < 1e-4


@pytest.mark.filterwarnings("ignore:mask")
@pytest.mark.parametrize(
    ("merge", "settings"),
    [
        ("context", {"model__residual_layers": 2, "model__residual_dim": 5}),
        ("spatial", {"model__normalization": "none", "model__residual_layers": 1}),
        ("context", {"model__normalization": "none"}),
        ("dense", {"model__head": "full"}),
        ("context", {"model__head": "full"}),
        ("context", {"model__factors": 5}),
        ("context", {"model__factors": 3, "prior__joint": False, "prior__epochs": 1}),
        ("dense", {"model__output": "linear", "model__kernel_size": 4}),
        ("spatial", {"model__output": "linear", "model__normalization": "none"}),
        ("context", {"model__hidden_dims": (6, 5, 7), "model__latent_dim": 3}),
    ],
    ids=str,
)
def test_javascript_equals_python_for_other_networks(merge, settings):
    joint = settings.get("prior__joint", merge != "spatial")
    assert compare(model_of((13, 9, 3), "multi_decoder", merge, joint, **settings)) < 1e-4


@pytest.mark.filterwarnings("ignore:mask")
def test_folded_batch_normalisation_is_the_same_network():
    model = model_of((13, 9, 3), "multi_decoder", "context", False, model__residual_layers=1)
    kinds = {fold: [op["op"] for op in describe(model, fold=fold).graph.ops] for fold in (True, False)}
    # What remains stands in front of the convolutions of residual layers.
    assert 0 < kinds[True].count("affine") < kinds[False].count("affine") / 2
    assert compare(model, fold=False) < 1e-4


def own_difference(page, weights):
    """What a page says of itself, in node."""
    image = base64_of(np.zeros(page["shape"]))
    return float(in_node(page=page, weights=weights, image=image, masks=[], noise="")["difference"])


def test_a_page_compares_itself_with_python():
    page, weights = page_data(built(model_of((13, 9, 3), "single_decoder", "context", True)))
    assert own_difference(page, weights) < 1e-4
    words = np.frombuffer(base64.b64decode(weights), np.float32).copy()
    words *= 1.01
    assert own_difference(page, base64_of(words)) > 1e-3
    words[:] = np.nan
    assert np.isnan(own_difference(page, base64_of(words)))


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "second-stage"])
def test_a_page_that_is_too_large_has_weights_of_half_precision(joint, monkeypatch):
    model = model_of((28, 28, 1), "single_decoder", "dense", joint)
    whole = built(model)
    monkeypatch.setattr("mtvae_jax.page.build.MOST_BYTES", len(whole) - 1)
    half = built(model)
    assert "rounded to half precision" in half
    assert "rounded to half precision" not in whole
    assert len(page_data(half)[1]) < 0.6 * len(page_data(whole)[1])
    assert own_difference(*page_data(half)) < 1e-4


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "second-stage"])
def test_a_model_of_bfloat16_is_compared_in_float32(joint):
    half = {"train__precision": "bfloat16", "prior__precision": "bfloat16"}
    assert own_difference(*page_data(built(model_of((13, 9, 3), "single_decoder", "spatial", joint, **half)))) < 1e-4


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_next_pixels_are_those_that_python_chooses(channels, linear):
    generator = np.random.default_rng(channels)
    # Few directions, as of draws from a z of few dimensions, so that one pixel says much of the others
    draws = generator.normal(size=(20, 3)) @ generator.normal(size=(3, 7 * 6 * channels))
    draws = draws.reshape(20, 1, 7, 6, channels).astype(np.float32)
    mask = generator.uniform(size=(1, 7, 6, 1)) < 0.3
    root = generator.normal(size=(1, 4, 7 * 6 * channels)).astype(np.float32) if linear else None
    expected = np.asarray(greedy_pixels(draws, mask, 6, 0.01, root))[0]
    question = {"draws": base64_of(draws), "mask": base64_of(mask), "count": 6, "variance": 0.01, "channels": channels}
    question |= {"root": base64_of(root), "share": LINEAR_SHARE} if linear else {}
    assert in_node(pixels=question)["pixels"] == [row * 6 + column for row, column in expected.tolist()]
