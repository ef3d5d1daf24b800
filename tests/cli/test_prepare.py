"""What is refused before anything is trained."""

import numpy as np
import pytest
from small_runs import small_config

from mtvae_jax.cli.prepare import prepare
from mtvae_jax.errors import UserError


def refusal(config):
    with pytest.raises(UserError) as error:
        prepare(config, warn=lambda text: None)
    return str(error.value)


def test_classes_without_labels_are_refused_before_the_first_stage(tmp_path):
    np.savez(tmp_path / "own.npz", images=np.zeros((40, 8, 8), np.uint8))
    config = small_config("plain", f"npz:{tmp_path / 'own.npz'}", "vq", prior__class_conditional=True)
    assert refusal(config) == "config.prior.class_conditional = True: own has no labels; must be False"


@pytest.mark.parametrize("path", ["nowhere.npz", "x" * 300, "~nobody/weights.npz", "a\0b"])
def test_weights_that_are_not_there_are_refused_before_the_first_stage(path):
    assert refusal(small_config(generation__inception=path)).startswith("config.generation.inception = ")


@pytest.fixture
def own(digits, tmp_path):
    """A function (number, side, channels) → the name of a dataset of so many digits."""

    def dataset(number=61, side=8, channels=1):
        images = digits[:number, 2 : 2 + 3 * side : 3, 2 : 2 + 3 * side : 3]
        np.savez(tmp_path / "own.npz", images=np.repeat(images, channels, axis=-1))
        return f"npz:{tmp_path / 'own.npz'}"

    return dataset


SMALL = {"train__batch_size": 16, "prior__batch_size": 16}


@pytest.mark.parametrize("section", ["train", "prior"])
def test_batches_larger_than_the_training_split_are_refused_for_both_stages(section, own):
    """Of 61 images 6 are for the test and 6 for validation."""
    config = small_config(dataset=own(), **SMALL | {f"{section}__batch_size": 128})
    expected = f"config.{section}.batch_size = 128: must be at most 49, the images of the training split"
    assert refusal(config) == expected


@pytest.mark.parametrize("section", ["train", "prior"])
def test_batches_that_the_devices_cannot_share_are_refused_for_both_stages(section, own, monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 4)
    config = small_config(dataset=own(), **SMALL | {f"{section}__batch_size": 18})
    assert refusal(config) == f"config.{section}.batch_size = 18: must be a multiple of the 4 devices"


def test_a_second_stage_that_is_not_trained_refuses_nothing(own):
    prepare(small_config(dataset=own(), **SMALL | {"prior__batch_size": 500, "prior__epochs": 0}), warn=pytest.fail)
    prepare(small_config("plain", own(), **SMALL | {"prior__batch_size": 500}), warn=pytest.fail)


@pytest.mark.parametrize("section", ["train", "prior"])
@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_batch_normalisation_of_a_single_value_is_refused(section, latent, own):
    """Three layers of stride 2 make one value of 8 × 8, and four of 9 × 9."""
    dims = {"model__hidden_dims": (4, 4, 4)}
    one = small_config(dataset=own(), latent=latent, **dims | SMALL | {f"{section}__batch_size": 1})
    assert refusal(one) == (
        f"config.{section}.batch_size = 1: 3 layers of stride 2 make one value a channel of a 8×8 image, and batch "
        "normalisation needs several; must be at least 2, or give fewer config.model.hidden_dims"
    )
    allowed = [
        (8, dims | SMALL | {f"{section}__batch_size": 2}),
        (9, dims | SMALL | {f"{section}__batch_size": 1}),
        (8, SMALL | {"model__hidden_dims": (4, 4), f"{section}__batch_size": 1}),
    ]
    if section == "train":
        allowed.append((8, dims | SMALL | {"model__normalization": "none", "train__batch_size": 1}))
    else:
        allowed.append((8, dims | SMALL | {"prior__epochs": 0, "prior__batch_size": 1}))
    for side, settings in allowed:
        prepare(small_config(dataset=own(side=side), latent=latent, **settings), warn=pytest.fail)


def test_weights_that_cannot_be_used_are_refused_before_the_first_stage(own, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_text("damaged")
    settings = SMALL | {"generation__inception": str(path), "generation__num_samples": 8}
    assert refusal(small_config(dataset=own(100), **settings)).startswith(f"{path}: cannot be read as an npz")
    assert refusal(small_config(dataset=own(100, channels=2), **settings)) == (
        f"config.generation.inception = {path}: describes grey and RGB images, and these have 2 channels; must be None"
    )


def test_what_cannot_be_judged_is_said_before_the_first_stage(own):
    said = []
    prepare(small_config(dataset=own(), latent="vq", **SMALL | {"generation__num_samples": 3, "prior__epochs": 0}),
            warn=said.append)
    assert said == [
        "not to be judged: samples (3 images are to be compared; must be at least 4)",
        "not to be judged: given pixels (config.prior.epochs = 0 learns no prior)",
    ]
