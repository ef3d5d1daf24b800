"""The map of a claim, and the factors that move it, on effects whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from mtvae_jax.study.cells import CELLS
from mtvae_jax.study.effect_map import DEFAULT, factors_that_move, spots

BETAS = {"σ² = 0.01": 2.55e-5, "β = 8e-05": 8e-5, "β = 0.00025": 2.5e-4, "β = 0.0008": 8e-4, "β = 0.0025": 2.5e-3}


def part(effects, latents=("gaussian",)):
    """A part as claims.json has it, from {(dataset, cell): effects of its pairs, by seed}."""
    return {"latents": list(latents), "findings": [
        {"dataset": dataset, "cell": cell, "pairs": len(values), "pair_effects": list(values),
         "pair_seeds": list(range(len(values))), "effect": float(np.mean(values)) if len(values) else None}
        for (dataset, cell), values in effects.items()
    ]}


def test_a_place_is_its_beta_and_what_else_varies():
    found = spots(part({("digits", cell.name): [1.0, 2.0] for cell in CELLS} | {("clothes", CELLS[0].name): []}))
    places = {(spot.beta, spot.other) for spot in found}
    assert {(None, DEFAULT), (8e-4, DEFAULT), (None, "spatial merge"), (2.5e-4, "spatial merge"),
            (2.5e-4, "full head"), (2.5e-4, "all images")} <= places
    assert {spot.dataset for spot in found} == {"digits"}, "what has no pair is on no map"
    of_vq = spots(part({("digits", cell.name): [1.0] for cell in CELLS}, ["vq"]))
    assert {spot.beta for spot in of_vq} == {None, 0.025, 2.5}


def test_intervals_share_the_spread_of_all_places():
    rng = np.random.default_rng(0)
    effects = {("digits", name): rng.normal(10 * i, 2, 2 + i % 3) for i, name in enumerate(BETAS)}
    groups = list(effects.values())
    degrees = sum(map(len, groups)) - len(groups)
    # The F statistic of an analysis of variance is the mean square between groups over that within
    between = sum(len(g) * (g.mean() - np.concatenate(groups).mean()) ** 2 for g in groups) / (len(groups) - 1)
    within = between / stats.f_oneway(*groups).statistic
    for spot, values in zip(spots(part(effects)), groups, strict=True):
        assert spot.half == pytest.approx(stats.t.ppf(0.975, degrees) * np.sqrt(within / len(values)))
        assert spot.sure == (abs(values.mean()) > spot.half)


def test_one_pair_everywhere_has_no_interval():
    (spot,) = spots(part({("digits", CELLS[0].name): [5.0]}))
    assert (spot.half, spot.sure) == (None, False)


def test_the_factor_that_moves_an_effect_is_found():
    """By −8 points for each factor of 10 in β and by 3 for the merge, beside what seeds share."""
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(1)
    shared = {dataset: rng.normal(0, 1, 4) for dataset in ("digits", "clothes")}
    effects = {
        (dataset, f"{merge}{name}"): -8 * np.log10(beta) + (3 if merge else 0) + shared[dataset] + rng.normal(0, 0.3, 4)
        for dataset in shared
        for merge, betas in (("", BETAS), ("spatial merge, ", ("σ² = 0.01", "β = 0.00025")))
        for name, beta in BETAS.items() if name in betas
    }
    moved = factors_that_move(part(effects))
    assert set(moved) == {"β × 10", "clothes", "spatial merge"}
    for name, truth in (("β × 10", -8), ("spatial merge", 3)):
        added, low, high = moved[name]
        assert low < truth < high
        assert added == pytest.approx(truth, abs=0.4)
    low, high = moved["clothes"][1:]
    assert low < shared["clothes"].mean() - shared["digits"].mean() < high


def test_few_effects_have_no_model():
    assert factors_that_move(part({})) is None
    assert factors_that_move(part({("digits", "σ² = 0.01"): [1.0, 2.0], ("digits", "β = 8e-05"): [1.0]})) is None
