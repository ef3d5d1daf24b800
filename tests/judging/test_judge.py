"""Judging generated images: figures that move as they must when the images are known to be better or worse."""

import io
import json

import jax
import numpy as np
import pytest
from small_runs import small_config

import mtvae_jax
from mtvae_jax.config import resolve
from mtvae_jax.data import load_dataset
from mtvae_jax.judging import judge as judging
from mtvae_jax.judging.distribution_metrics import frechet_distance
from mtvae_jax.judging.judge import judge
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.second_stage import train_prior


@pytest.fixture(scope="module")
def run(dataset, digits_npz, tmp_path_factory):
    config = small_config(
        "multi_decoder", f"npz:{digits_npz}", latent="vq", train__epochs=1, prior__epochs=1,
        generation__num_samples=32, generation__num_images=20, generation__draws=4,
    )  # fmt: skip
    config = resolve(config, dataset.image_shape)
    workdir = tmp_path_factory.mktemp("judged") / "run"
    train(config, dataset, workdir, stream=io.StringIO())
    train_prior(config, dataset, workdir, stream=io.StringIO())
    return config, workdir


@pytest.fixture
def cheap_features(monkeypatch):
    """Pixels as features, so that no classifier has to be trained."""

    class Pixels:
        description, warning = "pixels", None

        def __call__(self, images):
            images = images / 255.0 if images.dtype == np.uint8 else images
            return images.reshape(len(images), -1)[:, ::7]

    monkeypatch.setattr(judging, "train_feature_extractor", lambda *_, **__: Pixels())


def test_everything_is_judged_and_kept(run, dataset, cheap_features):
    config, workdir = run
    result = judge(config, dataset, workdir, stream=io.StringIO())
    assert result == json.loads((workdir / "generation.json").read_text())
    assert set(result["samples"]) == {"features", "num_images", "training_images", "prior", "untrained_prior"}
    assert result["samples"]["num_images"] == 32  # as many as there are test images
    pixels = [images[:32].reshape(32, -1)[:, ::7] / 255.0 for images in (dataset.test, dataset.train)]
    expected = frechet_distance(*pixels)
    assert result["samples"]["training_images"]["frechet_distance"] == pytest.approx(expected, rel=1e-6)
    assert {"conditional", "unconditional", "rivals"} < set(result["given_pixels"])
    grid = np.zeros((28, 28, 1), bool)
    grid[1::4, 1::4] = True
    images = dataset.test[: result["given_pixels"]["num_images"]] / 255
    mean = dataset.train.mean(0) / 255
    rivals = result["given_pixels"]["rivals"]
    assert rivals["mean"] == pytest.approx(np.mean((images - mean)[:, ~grid] ** 2), rel=1e-4)
    assert set(rivals) == {"mean", "nearest", "linear"}
    assert result["given_pixels"]["revealed"] == 49
    figures = result["given_pixels"]["conditional"]
    assert figures["mse_of_mean"] <= figures["mse_of_draw"]  # averaging never hurts a squared error


def test_a_run_is_judged_once_and_again_where_settings_differ(run, dataset, cheap_features, monkeypatch):
    config, workdir = run
    first = judge(config, dataset, workdir, stream=io.StringIO())
    with monkeypatch.context() as context:
        context.setattr(judging, "_samples", lambda *_: pytest.fail("judged again"))
        assert judge(config, dataset, workdir) == first
    with config.unlocked():
        config.generation.draws = 3
    try:
        assert judge(config, dataset, workdir, stream=io.StringIO())["given_pixels"]["draws"] == 3
    finally:
        with config.unlocked():
            config.generation.draws = 4


def test_nothing_is_judged_where_no_samples_are_asked_for(make_run, dataset, tmp_path):
    assert judge(make_run("plain", generation__num_samples=0), dataset, tmp_path / "nowhere") is None


# ---------------------------------------------------------------------------------------------- what cannot be judged


@pytest.fixture
def judge_untrained(digits, tmp_path, cheap_features, monkeypatch):
    """A function (latent, method, side, **overrides) → what judging a run finds that has learned nothing yet."""

    def judged(latent, method, side=8, num_images=142, **overrides):
        images = digits[:num_images, 2 : 2 + 3 * side : 3, 2 : 2 + 3 * side : 3]
        np.savez(tmp_path / "own.npz", images=images)
        dataset = load_dataset(f"npz:{tmp_path / 'own.npz'}")
        settings = {"model__hidden_dims": (4,), "generation__num_samples": 10, "generation__draws": 2}
        config = resolve(small_config(method, "npz:own.npz", latent, **settings | overrides), images.shape[1:])

        def load(_):
            key, shape, prior = jax.random.key(0), images.shape[1:], None
            variables = init_variables(build_model(config, shape, axis_name=None), key, shape)
            learnable = latent == "vq" or method != "plain"
            if config.prior.epochs and learnable:
                prior = LearnedPrior(config, shape, 0)
                prior = prior.with_variables(PriorObjective.of(prior).init(key))
            return Model(config, shape, variables, prior=prior, step=1)

        monkeypatch.setattr(judging, "load", load)
        result = judge(config, dataset, tmp_path, stream=io.StringIO())
        assert result == json.loads((tmp_path / "generation.json").read_text())
        return result

    return judged


def parts(result):
    """The parts that have figures: "samples/prior", …"""
    of_parts = ((part, result.get(part, {})) for part in ("samples", "given_pixels"))
    return {f"{part}/{name}" for part, ways in of_parts for name, way in ways.items()
            if isinstance(way, dict) and name != "rivals"}


NO_PRIOR = "config.prior.epochs = 0 learns no prior"
NO_P_Z = "config.prior.unconditional = 0 learns no p(z)"
TRAINING, PRIOR, UNTRAINED = "samples/training_images", "samples/prior", "samples/untrained_prior"
GIVEN, FROM_P_Z = "given_pixels/conditional", "given_pixels/unconditional"


@pytest.mark.parametrize(
    ("latent", "method", "overrides", "judged", "left_out"),
    [
        ("vq", "plain", {"prior__epochs": 0}, {TRAINING, UNTRAINED}, {PRIOR: NO_PRIOR}),
        ("vq", "multi_decoder", {"prior__epochs": 0}, {TRAINING, UNTRAINED},
         {PRIOR: NO_PRIOR, "given_pixels": NO_PRIOR}),
        ("vq", "semi_conditional", {"prior__epochs": 0}, set(), {"given_pixels": NO_PRIOR}),
        ("vq", "single_decoder", {"prior__unconditional": 0.0}, {TRAINING, UNTRAINED, GIVEN},
         {PRIOR: NO_P_Z, FROM_P_Z: NO_P_Z}),
        ("vq", "semi_conditional", {"prior__unconditional": 0.0}, {GIVEN}, {FROM_P_Z: NO_P_Z}),
        ("vq", "multi_decoder", {"prior__unconditional": 1.0}, {TRAINING, UNTRAINED, PRIOR, FROM_P_Z},
         {GIVEN: "config.prior.unconditional = 1 learns p(z) alone"}),
        ("gaussian", "multi_decoder", {"prior__epochs": 0}, {TRAINING, PRIOR, FROM_P_Z}, {GIVEN: NO_PRIOR}),
        ("gaussian", "plain", {"prior__epochs": 0}, {TRAINING, PRIOR}, None),
        ("gaussian", "multi_decoder", {"generation__num_samples": 3}, {GIVEN, FROM_P_Z},
         {"samples": "3 images are to be compared; must be at least 4"}),
        ("gaussian", "multi_decoder", {"num_images": 30}, {FROM_P_Z, GIVEN},  # 3 of them for the test
         {"samples": "3 images are to be compared; must be at least 4"}),
        ("gaussian", "semi_conditional", {"conditioning__grid_stride": 1}, set(),
         {"given_pixels": "0 values of test images are hidden; must be at least 1"}),
        ("gaussian", "single_decoder", {"conditioning__num_pixels": 64}, {TRAINING, PRIOR},
         {"given_pixels": "0 values of test images are hidden; must be at least 1"}),
        ("gaussian", "semi_conditional", {"conditioning__sampling": "uniform", "conditioning__num_pixels": 60}, set(),
         {"given_pixels": "52 values of validation images are hidden; must be at least 64"}),  # 13 images, 4 of each
        ("gaussian", "multi_decoder", {"side": 1, "conditioning__grid_stride": 1}, set(),
         {"samples": "images of a single pixel have no features",
          "given_pixels": "0 values of test images are hidden; must be at least 1"}),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_left_out_with_a_word(latent, method, overrides, judged, left_out, judge_untrained):
    result = judge_untrained(latent, method, **overrides)
    assert parts(result) == judged
    assert result.get("left_out") == left_out


def test_draws_with_replacement_that_hide_enough_are_judged(judge_untrained):
    """64 draws around the centre leave many of 64 pixels hidden."""
    result = judge_untrained("gaussian", "semi_conditional", conditioning__sampling="gaussian",
                             conditioning__num_pixels=64)  # fmt: skip
    assert parts(result) == {GIVEN, FROM_P_Z}
    assert "left_out" not in result


# --------------------------------------------------------------------------------------------------- known answers


def test_an_oracle_is_perfect_and_calibrated(run, dataset, monkeypatch):
    """Draws that are the truth itself, and reconstructions too: no error, and coverage as nominal."""
    config, workdir = run
    model = mtvae_jax.load(workdir)
    monkeypatch.setattr(Model, "sample", lambda self, n, key, images, *_, **__: np.stack([images] * n))
    monkeypatch.setattr(Model, "reconstruct", lambda self, images, *_: images)
    figures = judging._given_pixels(model, dataset, config.generation)["conditional"]
    for name in ("mse_of_mean", "mse_of_draw", "crps", "standard_deviation"):
        assert figures[name] == pytest.approx(0, abs=1e-6), name
    for level in (50, 80, 95):
        assert figures[f"coverage_{level}"] == pytest.approx(level / 100, abs=0.02)


def test_overconfident_draws_cover_too_little(run, dataset, monkeypatch):
    """All draws the same wrong image, reconstructions perfect: the intervals claim far more than they know."""
    config, workdir = run
    model = mtvae_jax.load(workdir)
    wrong = np.full((28, 28, 1), 0.5, np.float32)
    monkeypatch.setattr(Model, "sample", lambda self, n, key, images, *_, **__: np.stack([images * 0 + wrong] * n))
    monkeypatch.setattr(Model, "reconstruct", lambda self, images, *_: images)
    figures = judging._given_pixels(model, dataset, config.generation)["unconditional"]
    assert figures["coverage_50_without_noise"] < 0.1
    assert figures["mse_of_mean"] > 0.1


def test_features_of_a_bad_classifier_are_kept_with_a_warning(run, dataset, monkeypatch):
    class Bad:
        description, warning = "features", "they tell little"

        def __call__(self, images):
            return images.reshape(len(images), -1)[:, ::7] / 255.0

    config, workdir = run
    monkeypatch.setattr(judging, "train_feature_extractor", lambda *_, **__: Bad())
    samples = judging._samples(mtvae_jax.load(workdir), dataset, config.generation, None)
    assert samples["warning"] == "they tell little"
