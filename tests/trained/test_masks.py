"""Masks unlike training's: those of training itself are like it, and known misuse is not; a model says so once."""

import re
import warnings

import jax
import numpy as np
import pytest
from small_runs import small_config

from mtvae_jax.conditioning import exact_grid_mask, image_keys
from mtvae_jax.config import resolve
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.objective import draw_masks
from mtvae_jax.trained.masks import unlike_training
from mtvae_jax.trained.model import Model

SHAPE = (28, 28, 1)
GRID = np.asarray(exact_grid_mask(28, 28, 4))[..., 0]


def block(rows, columns):
    mask = np.zeros((28, 28), bool)
    mask[rows, columns] = True
    return mask


def trained_on(method, **conditioning):
    settings = {f"conditioning__{name}": value for name, value in conditioning.items()}
    return resolve(small_config(method, **settings), SHAPE)


TRAINED = {
    "grid": trained_on("multi_decoder"),
    "uniform": trained_on("semi_conditional", sampling="uniform"),
    "five uniform": trained_on("multi_decoder", sampling="uniform", num_pixels=5),
    "gaussian": trained_on("multi_decoder", sampling="gaussian"),
    "narrow gaussian": trained_on("multi_decoder", sampling="gaussian", gaussian_std=0.05),
    "distinct": trained_on("multi_decoder", sampling="gaussian", replacement=False, gaussian_std=0.05, num_pixels=400),
    "power law": trained_on("single_decoder"),
    "steep power law": trained_on("single_decoder", exponent=60.0),
    "gaussian power law": trained_on("single_decoder", sampling="gaussian", exponent=3.0),
}


@pytest.mark.parametrize("trained", TRAINED)
def test_masks_of_training_are_like_those_of_training(trained):
    config = TRAINED[trained]
    for count in (None, config.conditioning.num_pixels):  # as judging has them, too
        masks = np.asarray(draw_masks(config, image_keys(jax.random.key(5), 1000), 28, 28, count=count))[..., 0]
        assert unlike_training(config, masks) is None
    assert [unlike_training(config, mask[None]) for mask in masks[:20]] == [None] * 20


PLACE, COUNT = "where training does not", r"reveals \d+ pixels?;"


@pytest.mark.parametrize(
    ("trained", "mask", "message"),
    [
        ("grid", np.roll(GRID, 1, axis=0), PLACE),  # of the shifts and shapes that were seen to do harm
        ("grid", np.ones((28, 28), bool), PLACE),
        ("grid", GRID & block(slice(0, 12), slice(0, 12)), COUNT),
        ("grid", np.zeros((28, 28), bool), COUNT),
        ("uniform", np.ones((28, 28), bool), "reveals 784 pixels; this model was trained on 49 of 784 pixels, drawn"),
        ("uniform", block(slice(0, 1), slice(0, 1)), "reveals 1 pixel; "),
        ("uniform", block(slice(0, 7), slice(0, 7)), PLACE),
        ("uniform", block(slice(10, 17), slice(10, 17)), PLACE),
        ("uniform", block(slice(0, 14), slice(0, 28)), PLACE),
        ("gaussian", GRID, PLACE),
        ("gaussian", np.ones((28, 28), bool), COUNT),
        ("power law", np.ones((28, 28), bool), "a power law's number of pixels"),
        ("power law", block(slice(21, 28), slice(21, 28)), PLACE),
        ("steep power law", np.tile(GRID, 1) | np.roll(GRID, 1, axis=1) | np.roll(GRID, 2, axis=0), COUNT),
    ],
)
def test_masks_unlike_those_of_training_are_told(trained, mask, message):
    told = unlike_training(TRAINED[trained], np.stack([mask] * 3))
    assert "\n" not in told
    assert re.search(message, told)


@pytest.mark.parametrize(("trained", "mask"), [("uniform", GRID), ("power law", GRID), ("power law", 0 * GRID > 0)])
def test_masks_that_training_may_have_drawn_are_not(trained, mask):
    assert unlike_training(TRAINED[trained], mask[None]) is None


def test_a_model_warns_of_the_first_mask_unlike_trainings(digits):
    config, images = TRAINED["grid"], digits[:4]

    def model():
        return Model(config, SHAPE, init_variables(build_model(config, SHAPE), jax.random.key(0), SHAPE))

    everything = np.ones(SHAPE, bool)
    for use in (
        lambda model: model.reconstruct(images, everything),
        lambda model: model.sample(1, jax.random.key(0), images, everything),
        lambda model: model.with_variables(model.variables).reconstruct(images, everything),
    ):
        fresh = model()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fresh.reconstruct(images, GRID[..., None])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            use(fresh)
            use(fresh)
        assert len(told) == 1
        assert told[0].filename == __file__
        assert "trained on 49 of 784 pixels, on a grid of stride 4" in str(told[0].message)
