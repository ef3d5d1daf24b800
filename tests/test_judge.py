"""Judging generated images: figures that move as they must when the images are known to be better or worse."""

import io
import json

import numpy as np
import pytest

import mtvae_jax
from mtvae_jax import judge as judging
from mtvae_jax.distribution_metrics import frechet_distance
from mtvae_jax.generate import Model
from mtvae_jax.judge import judge
from mtvae_jax.prior import train_prior
from mtvae_jax.train import train


@pytest.fixture(scope="module")
def run(dataset, digits_npz, tmp_path_factory):
    from small_runs import small_config

    from mtvae_jax.config import resolve

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
    assert {"conditional", "unconditional"} < set(result["given_pixels"])
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
