"""What a command ends with: every figure, in lines that a terminal of eighty columns can hold."""

import re

import pytest

from mtvae_jax.cli.closing import judgement, stage_result
from mtvae_jax.errors import number_of

FIGURES = {
    "mse_of_mean": 0.019912, "mse_of_draw": 0.031, "standard_deviation": 0.12, "crps": 0.0512,
    "coverage_50": 0.523, "coverage_80": 0.812, "coverage_95": 0.951,
    "coverage_50_without_noise": 0.212, "coverage_80_without_noise": 0.4, "coverage_95_without_noise": 0.6,
}  # fmt: skip
SUMMARY = {
    "epochs": 20, "best_epoch": 18, "val/loss": 1.0, "test/loss": 0.01234, "test/reconstruction": 0.0104,
    "test/reconstruction_conditioned": 0.0092, "test/kl": 12.345678, "test/active_units": 16.0,
    "test/bits_per_dim": 1.2, "test/bits_per_dim_conditioned": 1.1,
    "test/psnr": 20.1, "test/psnr_conditioned": 20.9, "test/ssim": 0.8,
    "test/ssim_conditioned": 0.9,
}  # fmt: skip
GENERATION = {
    "of": {"model_step": 3, "settings": {"draws": 4}},
    "samples": {
        "features": "penultimate features", "num_images": 500, "warning": "they tell little " * 8,
        "prior": {"frechet_distance": 12.3, "precision": 0.28, "recall": 0.54},
    },
    "given_pixels": {"num_images": 500, "draws": 4, "revealed": 49.0, "conditional": FIGURES, "unconditional": FIGURES},
}  # fmt: skip


def test_lines_are_short_and_hold_every_figure():
    lines = [*stage_result("model", SUMMARY), *judgement(GENERATION)]
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert text.startswith("model complete: 20 epochs, the best is epoch 18 test images: loss 0.01234, reconstruction")
    for part in ("KL 12.35", "bits/dim with m 1.1", "SSIM with m 0.9", "Fréchet distance 12.3", "CRPS 0.0512",
                 "52, 81, 95 % within the 50, 80, 95 % intervals,",
                 "21, 40, 60 % within the 50, 80, 95 % intervals without pixel noise"):
        assert part in text
    assert "_" not in text
    assert text.count("they tell little") == 8


def test_an_empty_judgement_says_nothing():
    assert list(judgement(None)) == []


def test_one_is_not_many():
    assert stage_result("prior", SUMMARY | {"epochs": 1})[0].startswith("prior complete: 1 epoch, ")
    assert [number_of(n, "test image") for n in (0, 1, 2, 10_000, 1.0, 0.5)] == [
        "0 test images", "1 test image", "2 test images", "10,000 test images", "1 test image", "0.5 test images"
    ]  # fmt: skip


@pytest.mark.parametrize("field", [{"depth": 1}, {"kl_warmup": 1.0}])
def test_names_of_runs_count_too(field):
    from mtvae_jax.study.factors import Factors

    name = str(Factors(dataset="mnist", latent="gaussian", method="plain", **field))
    assert re.search(r"\b1 (layer|epoch)\b(?!s)", name)


def test_a_stage_that_was_ended_early_says_of_how_many_epochs():
    early = {"by": "patience", "epochs": 100, "patience": 2}
    assert stage_result("model", SUMMARY)[0] == "model complete: 20 epochs, the best is epoch 18"
    assert stage_result("model", SUMMARY | {"stopped_early": early})[0] == (
        "model complete: 20 epochs of 100 (patience), the best is epoch 18"
    )
