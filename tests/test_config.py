"""The config tree: thesis defaults, refusals in one line, and which runs are the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtvae_jax.config import (
    LATENTS,
    SETTINGS,
    check,
    from_dict,
    resolve,
    run_hash,
    run_name,
    thesis_config,
    to_dict,
)
from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models import grid_size
from mtvae_jax.settings import unknown_field

MNIST = (28, 28, 1)


def config_with(method="multi_decoder", latent="gaussian", **fields):
    config = thesis_config(latent=latent, method=method)
    with config.unlocked(), config.ignore_type():
        for name, value in fields.items():
            *section, field = name.split("__")
            target = config[section[0]] if section else config
            target[field] = value
    return config


@pytest.mark.parametrize("method", METHODS)
def test_thesis_settings_are_the_defaults(method):
    config = thesis_config(latent="gaussian", method=method)
    check(config)
    assert config.model.hidden_dims == (32, 64, 128, 256)
    assert config.model.latent_dim == 16
    assert (config.train.epochs, config.train.batch_size, config.train.learning_rate) == (100, 128, 1e-3)
    assert config.conditioning.sampling == ("uniform" if method == "single_decoder" else "exact")
    assert config.conditioning.exponent == 20
    assert len(config.loss.weights) == (2 if method == "multi_decoder" else 1)


@pytest.mark.parametrize(("dataset", "side"), [("mnist", 28), ("fashion_mnist", 28), ("cifar10", 32), ("celeb_a", 64)])
@pytest.mark.parametrize("method", METHODS)
def test_thesis_settings_of_vq(method, dataset, side):
    config = resolve(thesis_config(dataset, latent="vq", method=method), (side, side, 3))
    check(config)
    assert grid_size(config, (side, side, 3)) == ((7, 7) if side == 28 else (8, 8))
    assert (config.model.codebook_size, config.model.latent_dim, config.model.residual_layers) == (128, 32, 4)
    assert config.loss.beta == 0.25
    assert config.loss.variance is None
    assert config.prior.epochs == config.train.epochs


@pytest.mark.parametrize("name", ["latent", "method"])
def test_a_latent_or_method_that_does_not_exist_is_refused(name):
    with pytest.raises(UserError, match=rf"model.{name} = 'gausian': must be "):
        thesis_config(**({"latent": "vq", "method": "plain"} | {name: "gausian"}))


@pytest.mark.parametrize(
    ("method", "latent", "share"),
    [
        ("plain", "vq", 1.0),  # there are no revealed pixels
        ("multi_decoder", "gaussian", 0.0),  # p(z) = N(0, I) is known
        ("single_decoder", "vq", 0.5),
    ],
)
def test_a_prior_learns_what_is_not_known_already(method, latent, share):
    assert resolve(config_with(method, latent), MNIST).prior.unconditional == share


def test_the_second_stage_takes_as_many_epochs_as_the_first_unless_it_is_told():
    assert resolve(config_with(latent="vq", train__epochs=7), MNIST).prior.epochs == 7
    assert resolve(config_with(latent="vq", train__epochs=7, prior__epochs=0), MNIST).prior.epochs == 0


def test_resolving_works_out_what_depends_on_the_data():
    config = resolve(thesis_config(latent="gaussian", method="semi_conditional"), (32, 32, 3))
    assert config.conditioning.num_pixels == 64
    assert config.loss.beta == pytest.approx(2 * config.loss.variance / 3072)
    assert to_dict(resolve(config, (32, 32, 3))) == to_dict(config)
    from_beta = resolve(config_with(loss__beta=1e-4), MNIST)
    assert from_beta.loss.variance == pytest.approx(1e-4 * 784 / 2)


REFUSED = [
    ({"train__epochs": 0}, "config.train.epochs = 0: must be an integer of at least 1"),
    ({"train__epochs": 2.5}, "config.train.epochs = 2.5: must be an integer of at least 1"),
    ({"train__epochs": True}, "config.train.epochs = True: must be an integer of at least 1"),
    ({"train__learning_rate": float("nan")}, "config.train.learning_rate = nan: must be a number above 0"),
    ({"train__learning_rate": -1.0}, "config.train.learning_rate = -1.0"),
    ({"train__precision": "float16"}, "must be 'float32' or 'bfloat16'"),
    ({"train__ema_decay": 1.0}, "config.train.ema_decay = 1.0: must be a number above 0 and below 1, or None"),
    ({"train__warmup_epochs": 100.0}, "config.train.warmup_epochs = 100.0: must be below config.train.epochs = 100"),
    ({"model__method": "multi_decode"}, "did you mean 'multi_decoder'?"),
    ({"model__hidden_dims": ()}, "config.model.hidden_dims = (): must be a tuple of integers of at least 1"),
    ({"model__hidden_dims": (8, "a")}, "config.model.hidden_dims"),
    ({"conditioning__sampling": "unifrom"}, "did you mean 'uniform'?"),
    ({"conditioning__exponent": 0.0}, "config.conditioning.exponent = 0.0: must be a number above 0"),
    ({"data__validation": 1.0}, "config.data.validation = 1.0: must be a number of at least 0 and below 1"),
    ({"data__fold": 1}, "data.num_folds: cross-validation needs both data.fold and data.num_folds"),
    ({"data__fold": 5, "data__num_folds": 5}, "data.fold = 5: must be an integer in 0 … 4"),
    ({"data__size": (8, 8, 8)}, "config.data.size = (8, 8, 8): must be a side, or height and width, like 64 or 48,64"),
    ({"data__size": (64,)}, "data.size = (64,): is for folder:PATH, and these are mnist; must be None"),
    ({"data__name": "folder:a", "data__background": "whit"}, "data.background = whit: must be a colour"),
    ({"data__name": "folder:a", "data__labels": "files"}, "config.data.labels = 'files': must be 'folders', or None"),
    ({"loss__weights": (1.0,)}, "config.loss.weights = (1.0,): multi_decoder has 2 decoders, so must be 2 numbers"),
    ({"loss__weights": (0.0, 0.0)}, "at least one must be above 0"),
    ({"loss__balancing": "softadpt"}, "did you mean 'softadapt'?"),
    ({"loss__softadapt_variant": "median"}, "must be 'original', 'normalized' or 'loss_weighted'"),
    ({"loss__softadapt_slope": "newest"}, "must be 'least_squares' or 'released'"),
    ({"loss__softadapt_beta": float("inf")}, "config.loss.softadapt_beta = inf: must be a number"),
    ({"loss__softadapt_window": 1}, "config.loss.softadapt_window = 1: must be an integer in 2 … 10000"),
    ({"loss__softadapt_every": 0}, "config.loss.softadapt_every = 0: must be an integer of at least 1"),
    ({"loss__kl_warmup_epochs": -1.0}, "config.loss.kl_warmup_epochs = -1.0: must be a number of at least 0"),
    ({"loss__kl_warmup_epochs": 101.0}, "kl_warmup_epochs = 101.0: must be at most config.train.epochs = 100"),
    ({"latent": "vq", "loss__kl_warmup_epochs": 1.0}, "= 1.0: is for the KL of gaussian, and vq has none; must be 0.0"),
    ({"seed": -1}, "config.seed = -1"),
    ({"model__latent": "vqvae"}, "config.model.latent = 'vqvae': must be 'gaussian', 'vq' or 'fsq'"),
    ({"model__kernel_size": 0}, "config.model.kernel_size = 0: must be an integer in 1 … 99"),
    ({"model__normalization": "layer"}, "config.model.normalization = 'layer': must be 'batch' or 'none'"),
    ({"model__merge": "conv"}, "config.model.merge = 'conv': must be 'dense', 'spatial' or 'context'"),
    ({"model__output": "tanh"}, "config.model.output = 'tanh': must be 'sigmoid' or 'linear'"),
    ({"model__codebook_size": 1}, "config.model.codebook_size = 1: must be an integer in 2 … 1048576"),
    ({"model__codebook_init": "kmeans"}, "config.model.codebook_init = 'kmeans': must be 'data' or 'random'"),
    ({"model__codebook_ema": 1.0}, "config.model.codebook_ema = 1.0: must be a number above 0 and below 1, or None"),
    ({"model__codebook_restart": 1.0}, "config.model.codebook_restart = 1.0: must be a number of at least 0 and below"),
    ({"latent": "vq", "loss__variance": 0.01}, "config.loss.variance = 0.01: says what the weight of a KL stands for"),
    ({"prior__epochs": -1}, "config.prior.epochs = -1: must be an integer of at least 0, or None"),
    ({"prior__kernel_size": 4}, "config.prior.kernel_size = 4: must be an odd integer in 1 … 99"),
    ({"prior__first_kernel_size": 2}, "config.prior.first_kernel_size = 2: must be an odd integer in 1 … 99"),
    ({"prior__dropout": 1.0}, "config.prior.dropout = 1.0: must be a number of at least 0 and below 1"),
    ({"prior__unconditional": 1.5}, "config.prior.unconditional = 1.5: must be a number in 0 … 1"),
    ({"prior__learning_rate": 0.0}, "config.prior.learning_rate = 0.0: must be a number above 0"),
    ({"prior__epochs": 2, "prior__warmup_epochs": 2.0}, "config.prior.warmup_epochs = 2.0: must be below config.prior"),
    ({"prior__class_conditional": 1.5}, "config.prior.class_conditional = 1.5: must be True or False"),
    ({"prior__warmup_epochs": 100.0}, "prior.warmup_epochs = 100.0: must be below config.prior.epochs = 100"),
    ({"train__learning_rate": 1e-50}, "learning_rate = 1e-50: is 0 in float32, must be a number above 0"),
    ({"train__ema_decay": 1 - 1e-12}, "ema_decay = 0.999999999999: is 1 in float32, must be a number above 0"),
    ({"train__clip_norm": 1e300}, "is inf in float32, must be a number above 0, or None"),
    ({"train__epochs": 2**31}, "config.train.epochs = 2147483648: is too large, must be an integer of at least 1"),
    ({"model__latent_dim": 2**63}, "config.model.latent_dim = 9223372036854775808: must be an integer in 1 … 4096"),
    ({"model__hidden_dims": (True, 8)}, "config.model.hidden_dims = (True, 8): must be a tuple of integers"),
    ({"model__hidden_dims": (1,) * 17}, "at most 16 of at most 65536"),
    ({"loss__weights": (True, 1.0)}, "config.loss.weights = (True, 1.0): must be a tuple of numbers"),
    ({"data__substitute": 1}, "config.data.substitute = 1: must be True or False"),
    ({"conditioning__replacement": 0.0}, "config.conditioning.replacement = 0.0: must be True or False"),
    ({"model__latent": "vq\n"}, "config.model.latent = 'vq\\n': must be 'gaussian', 'vq' or 'fsq'; did you mean 'vq'?"),
    ({"train": 5}, "config.train = 5: must be a section with fields of its own"),
    ({"generation__draws": 1}, "config.generation.draws = 1: must be an integer of at least 2"),
    ({"train__epoch": 3}, "config.train.epoch: there is no such field; did you mean config.train.epochs?"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[str(f) for f, _ in REFUSED])
def test_impossible_settings_are_refused_in_one_line(fields, message):
    with pytest.raises(UserError) as error:
        check(config_with(**fields))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


RESOLVE_REFUSED = [
    ({"conditioning__num_pixels": 50}, "exact sampling reveals the 49 of the grid"),
    ({"conditioning__sampling": "uniform", "conditioning__num_pixels": 785}, "must be at most 784"),
    ({"conditioning__grid_stride": 29}, "must be at most the longer side, 28 pixels"),
    ({"loss__beta": 1e-4, "loss__variance": 0.5}, "each gives the other"),
    ({"loss__beta": 3e38}, r"config.loss.variance = 1.176\d*e\+41: is inf in float32"),
]


@pytest.mark.parametrize(("fields", "message"), RESOLVE_REFUSED, ids=[str(f) for f, _ in RESOLVE_REFUSED])
def test_settings_that_do_not_fit_the_images_are_refused(fields, message):
    config = config_with(**fields)
    check(config)
    with pytest.raises(UserError, match=message):
        resolve(config, MNIST)


def test_a_grid_cannot_reveal_a_random_number_of_pixels():
    with pytest.raises(UserError, match="single_decoder reveals a random number of pixels"):
        check(config_with("single_decoder", conditioning__sampling="exact"))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("train.epocs", "train.epochs"), ("epochs", "train.epochs"), ("model.epochs", "train.epochs"), ("sead", "seed")],
)
def test_an_unknown_field_is_answered_with_the_nearest_one(wrong, right):
    assert f"did you mean config.{right}?" in str(unknown_field(wrong, SETTINGS))


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_config_survives_json(method, latent):
    config = resolve(thesis_config(latent=latent, method=method), MNIST)
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert to_dict(again) == to_dict(config)
    assert run_hash(again) == run_hash(config)


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c["train"].update(epochs="many"),
        lambda c: c.update(surprise=1),
        lambda c: c.pop("model") and None,
        lambda c: c.update(train=3),
        lambda c: c["model"].update(method=["plain"]),
    ],
    ids=["type", "unknown", "section", "no section", "a list for a word"],
)
def test_a_damaged_saved_config_is_refused(damage):
    values = to_dict(resolve(config_with(), MNIST))
    damage(values)
    with pytest.raises(UserError):
        from_dict(values)


def test_a_field_that_an_older_version_did_not_have_takes_its_default():
    values = to_dict(resolve(config_with(), MNIST))
    del values["train"]["ema_decay"], values["prior"]
    assert from_dict(values).train.ema_decay is None
    assert from_dict(values).prior.hidden_dim == 64


# The second stage has a folder of its own in the run's.
SAME = {"data__dir": "/elsewhere", "data__substitute": False, "train__figures_every": 3}
SAME |= {"prior__hidden_dim": 5, "prior__epochs": 1, "generation__draws": 3}


@pytest.mark.parametrize("field", SAME)
def test_what_changes_nothing_learned_keeps_the_hash(field):
    assert run_hash(resolve(config_with(**{field: SAME[field]}), MNIST)) == run_hash(resolve(config_with(), MNIST))


CHANGES = {"seed": 1, "train__epochs": 99, "loss__beta": 1e-3, "model__latent_dim": 64, "model__codebook_ema": 0.9}


@given(st.sampled_from(sorted(CHANGES.items())))
def test_what_changes_the_run_changes_the_hash(change):
    assert run_hash(resolve(config_with(**dict([change])), MNIST)) != run_hash(resolve(config_with(), MNIST))


def test_of_a_folder_the_way_to_its_images_changes_the_hash_and_the_files_left_out_do_not():
    def hashed(**settings):
        fields = {f"data__{name}": value for name, value in {"name": "folder:a", "size": (8, 8), **settings}.items()}
        return run_hash(resolve(config_with(**fields), (8, 8, 3)))

    assert hashed(size=(8,)) == hashed() == hashed(skip_broken=True)
    others = {"size": (4, 8)}, {"size": None}, {"crop": "none"}, {"background": "black"}, {"labels": "folders"}
    assert len({hashed(), *(hashed(**other) for other in others)}) == 6


def test_integers_and_floats_are_one_run():
    whole = {"loss__weights": (1, 1), "conditioning__exponent": 20, "train__warmup_epochs": 0}
    assert run_hash(resolve(config_with(**whole), MNIST)) == run_hash(resolve(config_with(), MNIST))


@pytest.mark.parametrize(("method", "name"), zip(METHODS, ["plain", "semi", "multi", "single"], strict=True))
def test_a_run_is_named_after_its_config_file(method, name):
    assert run_name(thesis_config(latent="gaussian", method=method), "mnist") == f"gauss_{name}-mnist"
    assert run_name(thesis_config(latent="vq", method=method), "mnist") == f"vq_{name}-mnist"
