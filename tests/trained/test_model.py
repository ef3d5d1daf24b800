"""The Python interface: encode, reconstruct, sample, load; and what each refuses."""

import functools
import io
import itertools
import json
import pickle
import warnings

import jax
import numpy as np
import pytest

import mtvae_jax
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.prior_objective import PriorObjective

KEY = jax.random.key(0)
GRID = np.zeros((28, 28, 1), bool)
GRID[1::4, 1::4] = True


@pytest.fixture(scope="module")
def images(digits):
    return digits[:5] / np.float32(255)


@pytest.fixture(scope="module")
def model(make_run):
    """A function (method, latent) → an untrained model; each is made once."""

    @functools.cache
    def make(method, latent="gaussian"):
        config = make_run(method, latent)
        return Model(config, (28, 28, 1), init_variables(build_model(config, (28, 28, 1)), KEY, (28, 28, 1)))

    return make


def test_uint8_and_float_images_are_the_same_images(model, digits, images):
    multi = model("multi_decoder")
    np.testing.assert_array_equal(multi.encode(digits[:5]), multi.encode(images))
    np.testing.assert_array_equal(multi.reconstruct(digits[:5], GRID), multi.reconstruct(images, GRID))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_that_can_only_be_black_are_said_to_be(dtype, model, digits):
    plain, binary = model("plain"), digits[:3] > 127
    with pytest.warns(UserWarning, match="^images: no pixel is brighter than 1/255, so the model sees black") as said:
        plain.encode(binary.astype(np.uint8) if dtype == np.uint8 else binary / np.float32(255))
    assert said[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        plain.encode(binary.astype(np.float32))
        plain.encode(np.zeros_like(digits[:3]))


def test_draws_depend_on_the_key_and_the_mean_does_not(model, images):
    plain = model("plain")
    first, again, other = (plain.encode(images, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_array_equal(plain.encode(images), plain.encode(images))


def test_several_draws_differ_and_come_first(model, images):
    draws = model("multi_decoder").reconstruct(images, GRID, num_samples=3, key=KEY)
    assert draws.shape == (3, 5, 28, 28, 1)
    assert np.abs(draws[0] - draws[1]).max() > 0


def test_any_number_of_images_in_batches_of_one_size(model, digits):
    plain = model("plain")
    many = plain.encode(digits[:300])
    assert many.shape == (300, 4)
    np.testing.assert_allclose(many[290:], plain.encode(digits[290:300]), rtol=1e-4, atol=1e-5)
    with_key = plain.encode(digits[:300], KEY)
    np.testing.assert_allclose(with_key[:10], plain.encode(digits[:10], KEY), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_another_number_of_images_compiles_nothing(latent, model, digits):
    multi = model("multi_decoder", latent)

    def everything(num):
        found = multi.encode(digits[:num]), multi.reconstruct(digits[:num], GRID, key=KEY), multi.sample(num, KEY)
        return *found, multi.sample(2, KEY, digits[:num], GRID)[0]

    many, compiled = everything(16), []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.startswith("/jax/core/compile/") else None
    )
    for num in (9, 13):
        for few, more in zip(everything(num), many, strict=True):
            np.testing.assert_allclose(few, more[:num], rtol=1e-5, atol=1e-6)
    Model(multi.config, (28, 28, 1), multi.variables).encode(digits[:13])  # nor does a second one like it
    assert not compiled
    jax.jit(lambda x: 2 * x)(3.0)
    assert compiled, "this test does not see compilations"


@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_a_model_can_be_pickled(latent, model, images):
    multi = model("multi_decoder", latent)
    prior = LearnedPrior(multi.config, (28, 28, 1), 0)
    multi = multi.with_prior(prior.with_variables(PriorObjective.of(prior).init(KEY)))
    again = pickle.loads(pickle.dumps(multi))
    np.testing.assert_array_equal(again.reconstruct(images, GRID), multi.reconstruct(images, GRID))
    np.testing.assert_array_equal(again.sample(2, KEY, images, GRID), multi.sample(2, KEY, images, GRID))
    assert again.config == multi.config


def test_a_mask_for_all_is_the_same_mask_for_each(model, images):
    multi = model("multi_decoder")
    each = multi.reconstruct(images, np.broadcast_to(GRID, (5, 28, 28, 1)))
    np.testing.assert_array_equal(multi.reconstruct(images, GRID), each)
    np.testing.assert_array_equal(multi.reconstruct(images, GRID.astype(np.float32)), each)


def test_hidden_pixels_do_not_reach_the_conditional_decoder_but_through_z(model, images):
    semi = model("semi_conditional")
    changed = np.where(GRID, images, 1 - images)
    z = semi.encode(images)
    same_z = [semi._decode(z, semi._revealed(batch, GRID)) for batch in (images, changed)]
    np.testing.assert_array_equal(*same_z)


def test_samples_from_nothing_and_from_known_pixels(model, images):
    assert model("plain").sample(7, KEY).shape == (7, 28, 28, 1)
    single = model("single_decoder")
    assert single.sample(2, KEY).shape == (2, 28, 28, 1)
    draws = single.sample(2, KEY, images, GRID)
    assert draws.shape == (2, 5, 28, 28, 1)
    assert np.abs(draws[0] - draws[1]).max() > 0


@pytest.mark.filterwarnings("ignore:mask")  # image 1 shows nothing
@pytest.mark.parametrize("unknown", [np.nan, -1.0, 999.0])
def test_whatever_stands_at_hidden_pixels_draws_given_the_others_are_the_same(unknown, model, images):
    multi = model("multi_decoder")
    mask = np.broadcast_to(GRID, (5, 28, 28, 1)).copy()
    mask[1] = False
    known = np.where(mask, images, np.float32(unknown))
    expected = multi.sample(2, KEY, images, mask)
    np.testing.assert_array_equal(multi.sample(2, KEY, known, mask), expected)
    np.testing.assert_array_equal(multi.sample(2, KEY, known.astype(np.float64), mask.astype(int)), expected)
    with pytest.raises(UserError, match="images: "):
        multi.sample(2, KEY, known, GRID)  # which shows pixels of image 1 that are not known
    with pytest.raises(UserError, match="images: "):
        multi.reconstruct(known, mask)  # whose z is of all pixels


REFUSED = [
    ("plain", lambda m, x: m.reconstruct(x, GRID), "a plain model has no decoder that sees pixels"),
    ("semi_conditional", lambda m, x: m.reconstruct(x), "a semi_conditional model always needs revealed pixels"),
    ("semi_conditional", lambda m, x: m.sample(2, KEY), "always needs revealed pixels"),
    ("plain", lambda m, x: m.encode(x[..., 0]), r"images: have shape \(5, 28, 28\), must be \(N, 28, 28, 1\)"),
    ("plain", lambda m, x: m.encode(x[:0]), "with N at least 1"),
    ("plain", lambda m, x: m.encode(x * 255), "must be uint8, or floats in"),
    ("plain", lambda m, x: m.encode(x * np.nan), r"images: hold NaN; must be .* sample with images and a mask"),
    ("plain", lambda m, x: m.encode(x + np.inf), "must be uint8, or floats in"),
    ("plain", lambda m, x: m.encode((x * 255).astype(np.int64)), "must be uint8, or floats in"),
    ("plain", lambda m, x: m.reconstruct(x, num_samples=2), "several draws need a key"),
    ("plain", lambda m, x: m.reconstruct(x, num_samples=0), "num_samples = 0: must be an integer of at least 1"),
    ("plain", lambda m, x: m.sample(0, KEY), "n = 0: must be an integer of at least 1"),
    ("plain", lambda m, x: m.sample(True, KEY), "n = True: must be an integer of at least 1"),
    ("plain", lambda m, x: m.sample(10**12, KEY), "must be an integer of at least 1, and at most 16,777,216"),
    ("plain", lambda m, x: m.sample(2, None), "key = None: draws need a key, such as jax.random.key"),
    ("plain", lambda m, x: m.sample(2, 5), "key = 5: must be one typed key, such as jax.random.key"),
    ("plain", lambda m, x: m.encode(x, jax.random.split(KEY, 5)), "must be one typed key"),
    ("plain", lambda m, x: m.reconstruct(x, key=jax.random.PRNGKey(0)), "must be one typed key"),
    ("plain", lambda m, x: m.encode([[1, 2], [3]]), "images: cannot be made a NumPy array"),
    ("multi_decoder", lambda m, x: m.reconstruct(x, GRID * (1 + 0j)), "mask: must be True or 1"),
    ("multi_decoder", lambda m, x: m.reconstruct(x, [[True], []]), "mask: cannot be made a NumPy array"),
    ("plain", lambda m, x: m.sample(2, KEY, prior=["untrained"]), r"prior = \['untrained'\]: must be"),
    ("multi_decoder", lambda m, x: m.reconstruct(x, GRID[..., 0]), r"mask: has shape \(28, 28\)"),
    ("multi_decoder", lambda m, x: m.reconstruct(x, GRID * 0.5), "mask: must be True or 1"),
    ("multi_decoder", lambda m, x: m.sample(1, KEY, x), "give both or neither"),
    ("multi_decoder", lambda m, x: m.sample(1, KEY, x, GRID[..., 0]), r"mask: has shape \(28, 28\)"),
    ("multi_decoder", lambda m, x: m.sample(1, KEY, x * np.nan, GRID * np.nan), "images: hold NaN"),
]


def test_several_reconstructions_from_codes_are_refused_because_there_is_but_one(model, images):
    multi = model("multi_decoder", "vq")
    with pytest.raises(UserError, match="num_samples = 16: an image has one reconstruction from its codes") as error:
        multi.reconstruct(images, GRID, num_samples=16, key=KEY)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(multi.reconstruct(images, GRID, key=KEY), multi.reconstruct(images, GRID))


@pytest.mark.parametrize(("method", "call", "message"), REFUSED, ids=[message[:30] for *_, message in REFUSED])
def test_what_a_model_cannot_do_is_said_in_one_line(method, call, message, model, images):
    with pytest.raises(UserError, match=message) as error:
        call(model(method), images)
    assert "\n" not in str(error.value)


def test_best_and_latest_are_loaded_as_saved(make_run, dataset, tmp_path, caplog, monkeypatch):
    # A loss that rises makes the first epoch the best, whose images are not yet as good as the latest's.
    evaluate, rising = Evaluator.__call__, itertools.count()
    monkeypatch.setattr(
        Evaluator, "__call__", lambda self, *given: evaluate(self, *given) | {"loss": float(next(rising))}
    )
    config = make_run("plain", train__epochs=3)
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    best, latest = mtvae_jax.load(tmp_path / "run"), mtvae_jax.load(tmp_path / "run", "latest")
    assert caplog.text == ""  # orbax has much to say
    errors = [np.mean((model.reconstruct(dataset.test) - dataset.test / 255.0) ** 2) for model in (best, latest)]
    assert summary["best_epoch"] == 1
    assert errors[0] > errors[1]
    with pytest.raises(UserError, match="which = 'last': must be 'best' or 'latest'"):
        mtvae_jax.load(tmp_path / "run", "last")


def test_bfloat16_images_are_floats(model, images):
    half = jax.numpy.asarray(images, jax.numpy.bfloat16)
    np.testing.assert_array_equal(model("plain").encode(half), model("plain").encode(np.asarray(half, np.float32)))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config.json: does not exist; give the work directory of a run"):
        mtvae_jax.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: is damaged"):
        mtvae_jax.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"config.json: is damaged \(it holds no object\)"):
        mtvae_jax.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"config": 1, "data": {}}))
    with pytest.raises(UserError, match=r"config.json: is not the description of a run"):
        mtvae_jax.load(tmp_path)
