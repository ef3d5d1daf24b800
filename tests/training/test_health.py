"""Collapse of the latent: the limits with plain numbers, and a run that collapses, from its line to its summary."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import tiny_config

import mtvae_jax.data
from mtvae_jax.models.latents.codes import codebook_collapsed
from mtvae_jax.models.latents.gaussian import GaussianLatent, posterior_collapsed
from mtvae_jax.models.latents.vq import VectorQuantiser
from mtvae_jax.process.progress import Progress
from mtvae_jax.training.first_stage import train


@pytest.mark.parametrize(
    ("kl", "active_units", "collapsed"),
    [
        (0.0, 0, True),
        (1e-4, 1, True),
        (0.0, None, True),
        (0.5, None, False),
        (3.0, 0, True),  # unlike the prior, but the same for every image
        (0.02, 1, False),
        (5.0, 5, False),  # of a thousand dimensions, say: five are enough
        (17.6, 16, False),
    ],
)
def test_a_posterior_that_is_the_same_for_every_image_has_collapsed(kl, active_units, collapsed):
    assert posterior_collapsed(kl, active_units) == collapsed


@pytest.mark.parametrize(
    ("use", "collapsed"),
    [
        ([1.0], False),  # nothing to lose
        ([1.0, 0.0], True),
        ([0.97, 0.03], True),
        ([0.85, 0.15], False),  # of two codes both are in use
        ([0.95, 0.05, 0.0, 0.0], True),
        ([0.7, 0.3] + [0.0] * 126, False),  # poor, but two codes tell images apart
        ([1.0] + [0.0] * 511, True),
        ([1 / 512] * 512, False),
    ],
)
def test_a_codebook_of_which_one_code_is_used_has_collapsed(use, collapsed):
    perplexity = math.exp(-sum(p * math.log(p) for p in use if p > 0))
    assert codebook_collapsed(perplexity, len(use)) == collapsed


@given(st.integers(2, 10_000), st.data())
def test_a_fair_use_of_any_codebook_is_healthy(size, data):
    assert not codebook_collapsed(data.draw(st.floats(1.5, size)), size)


GAUSSIAN, CODES = GaussianLatent(16), VectorQuantiser(2, 128, (7, 7))


def test_findings_say_what_has_collapsed_and_what_to_do():
    (found,) = GAUSSIAN.findings({"val/kl": 0.0004, "val/active_units": 1})
    assert found.short == "posterior collapsed"
    assert "KL is 0.0004 nats and 1 dimension of z active" in found.sentence
    assert "config.loss.beta" in found.sentence
    (found,) = CODES.findings({"val/perplexity": 1.02, "val/codes_used": 2 / 128})
    assert found.short == "codebook collapsed: 2 of 128 codes used"
    assert found.sentence.startswith("codebook collapsed: 2 of 128 codes used, perplexity 1.02; ")
    assert "config.model.codebook_restart" in found.sentence
    assert "\n" not in found.sentence


@pytest.mark.parametrize(
    "metrics",
    [
        {"val/loss": 0.1, "val/kl": 17.0, "val/active_units": 12, "train/kl": 0.0},
        {"val/perplexity": 80.0, "val/codes_used": 0.9, "train/perplexity": 1.0},
        {},
    ],
)
def test_a_healthy_model_has_no_findings(metrics):
    assert GAUSSIAN.findings(metrics) == CODES.findings(metrics) == []


def test_a_warning_stays_on_the_narrowest_line(monkeypatch):
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: SimpleNamespace(columns=48))
    out = io.StringIO()
    progress = Progress(total_epochs=9, steps_per_epoch=1, stream=out, live=True)
    metrics = {"train/loss": 1.0, "val/loss": 1.0, "val/kl": 0.0, "val/psnr": 20.0}
    progress.epoch_end(
        epoch=1, metrics=metrics, images_per_second=5.0, is_best=True, warnings=["posterior collapsed"]
    )
    line = out.getvalue().strip("\r\n").split("\x1b")[0]
    assert line.endswith("! posterior collapsed")
    assert len(line) < 48


@pytest.mark.parametrize(
    ("latent", "overrides", "warning"),
    [
        ("gaussian", {"loss__beta": 1e3}, "posterior collapsed"),
        ("gaussian", {"loss__beta": 1e-6}, None),
        ("vq", {"model__codebook_size": 8}, "codebook collapsed: 1 of 8 codes used"),
    ],
    ids=["beta is huge", "beta is small", "one code of eight in reach"],
)
def test_a_run_that_collapses_says_so(latent, overrides, warning, digits, tmp_path, monkeypatch):
    if latent == "vq":
        monkeypatch.setattr("mtvae_jax.training.first_stage.start_from_data", lambda objective, _: far_codes(objective))
    np.savez(tmp_path / "tiny.npz", images=digits[:160, 4:28:4, 4:28:4])
    dataset = mtvae_jax.data.load_dataset(f"npz:{tmp_path / 'tiny.npz'}", validation=0.1)
    config = tiny_config(
        latent, "plain", data__validation=0.1, train__learning_rate=0.02, train__epochs=4, **overrides
    )
    out = io.StringIO()
    summary = train(config, dataset, tmp_path / "run", stream=out)
    last = out.getvalue().splitlines()[-1]
    if warning is None:
        assert summary["warnings"] == []
        assert "collapsed" not in last
    else:
        assert last.endswith(f"! {warning}")
        assert [sentence.startswith(warning) for sentence in summary["warnings"]] == [True]


def far_codes(objective):
    """A start at which one code is near the encoder's outputs, and the others are out of reach."""
    size = objective.config.model.codebook_size

    def start(state):
        codebook = np.full((size, 2), 1e3, np.float32)
        codebook[0] = 0.0
        latent = state.params["latent"] | {"codebook": codebook}
        return state.replace(params=state.params | {"latent": latent})

    return start
