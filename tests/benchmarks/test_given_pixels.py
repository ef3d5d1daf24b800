"""The benchmark of predicted hidden pixels, with the predictors that need no training."""

import json
import sys

import jax
import numpy as np
import pytest

from benchmarks import given_pixels
from mtvae_jax.data import load_dataset
from mtvae_jax.figures.given_pixels import given_pixels as figure
from mtvae_jax.randomness import image_keys

KEYS = image_keys(jax.random.key(0), 200)


@pytest.mark.parametrize(("masks", "count", "revealed"), [
    ("uniform", 5, {5}), ("grid", None, {4}), ("box", 12, range(8, 17)), ("half", None, {24}),
])  # fmt: skip
def test_masks_reveal_what_their_name_says(masks, count, revealed):
    found = np.asarray(given_pixels.MASKS[masks][0](KEYS, count, 8, 6))
    assert (found.shape, found.dtype) == ((200, 8, 6, 1), bool)
    assert set(found.sum((1, 2, 3))) <= set(revealed)


def test_contexts_have_any_number_of_pixels_up_to_thirty_percent():
    counts = given_pixels.MASKS["context"][0](KEYS, None, 8, 6).sum((1, 2, 3))
    assert set(counts) == set(range(15))  # 0.3 of 48 is 14.4


def test_every_half_occurs_as_often():
    halves, number = np.unique(given_pixels.MASKS["half"][0](KEYS, None, 8, 6), axis=0, return_counts=True)
    assert len(halves) == 4
    assert number.min() > 30  # of 200, 50 each expected


def run(monkeypatch, folder, *flags):
    monkeypatch.setattr(sys, "argv", ["given_pixels", f"--output={folder}", f"--json={folder / 'rows.json'}", *flags])
    given_pixels.main()
    return json.loads((folder / "rows.json").read_text())


def test_rows_are_the_predictors_errors_and_are_kept(digits_npz, tmp_path, monkeypatch, capsys):
    flags = [f"--data=npz:{digits_npz}", "--predictors=mean,linear", "--seeds=2", "--masks=uniform,grid",
             "--counts=0,20", "--images=30"]  # fmt: skip
    rows = run(monkeypatch, tmp_path, *flags)
    cells = {(row["predictor"], row["masks"], row["count"], row["seed"]) for row in rows}
    assert len(rows) == len(cells) == 2 * 3 * 2
    dataset = load_dataset(f"npz:{digits_npz}")
    expected = np.mean((dataset.test[:30] / 255 - (dataset.train / 255).mean(0)) ** 2)
    nothing = {row["predictor"]: row["mse"] for row in rows if row["count"] == 0}
    assert nothing == pytest.approx({"mean": expected, "linear": expected}, rel=1e-4)
    by_count = {row["count"]: row["mse"] for row in rows if row["predictor"] == "linear" and row["masks"] == "uniform"}
    assert by_count[20] < by_count[0]
    assert (tmp_path / "uniform.png").stat().st_size > 5000
    assert not (tmp_path / "grid.png").exists()  # of one number of pixels
    capsys.readouterr()
    assert run(monkeypatch, tmp_path, *flags) == rows
    assert "seed 0, mean" not in capsys.readouterr().out  # nothing is done again


def test_masks_with_a_number_of_their_own_are_tried_several_times(digits_npz, tmp_path, monkeypatch):
    flags = ["--predictors=mean", "--seeds=1", "--masks=mixture", "--trials=3", "--images=30"]
    rows = run(monkeypatch, tmp_path, f"--data=npz:{digits_npz}", *flags)
    assert [(row["count"], row["trial"]) for row in rows] == [(None, 0), (None, 1), (None, 2)]
    assert len({row["psnr"] for row in rows}) == 3  # of masks of their own


def test_the_table_has_means_and_paired_intervals():
    scores = dict.fromkeys(("psnr", "crps", "energy", "variogram", "coverage_50", "coverage_80", "coverage_95"), 0.5)
    values = {"mtvae": (0.010, 0.020, 0.030), "linear": (0.012, 0.023, 0.031)}
    rows = [{"predictor": name, "masks": "uniform", "count": 5, "seed": seed, "trial": 0, "mse": mse} | scores
            for name, errors in values.items() for seed, mse in enumerate(errors)]  # fmt: skip
    ours, linear = given_pixels.table(rows).splitlines()[2:]
    assert "| mtvae | 3 | 0.02000 |  |" in ours
    # differences 0.002, 0.003, 0.001: mean 0.002, standard error 0.001/√3, t of two degrees of freedom 4.303
    assert "| linear | 3 | 0.02200 | +0.00200 ± 0.00248 |" in linear
    (axes,) = figure(rows, title="uniform").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["this model", "linear"]
