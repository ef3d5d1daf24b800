"""The rule for verdicts on tables whose truth is known."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from mtvae_jax.errors import UserError
from mtvae_jax.study.cells import CELLS, MAIN
from mtvae_jax.study.claims import (
    CLAIMS,
    HIGHEST,
    SLIGHTLY_HIGHER,
    SLIGHTLY_LOWER,
    SUBSTANTIALLY_LOWER,
    Claim,
    Expected,
    Model,
    Part,
)
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.verdicts import Place, Question, judge_claims, verdict_of

INFINITY = math.inf
LOWER, HIGHER, SIMILAR = Expected(-INFINITY, 0, "lower"), Expected(0, INFINITY, "higher"), Expected(-2, 2, "similar")
MULTI = Model("the multi-decoder", {"latent": "gaussian", "method": "multi_decoder"})
SINGLE = Model("the single decoder", {"latent": "gaussian", "method": "single_decoder"})
PLAIN = Model("a plain VAE", {"latent": "gaussian", "method": "plain"})
ERROR, CONDITIONED, KL = "test/reconstruction", "test/reconstruction_conditioned", "test/kl"


def part(expected=LOWER, a=MULTI, b=PLAIN, metric=ERROR, *, exploratory=True, **settings):
    """Looked at once, unless it is not `exploratory`: then after each pair."""
    return Part("part", a, b, metric, expected, "", exploratory=exploratory, **settings)


def claim(*parts):
    return Claim("C1", "4.1.1", "It is so.", parts)


def row(model, figures, *, status="complete", dataset="digits", seed=0, fold=None, **factors):
    factors = Factors(**{**model.factors, **factors}, dataset=dataset, seed=seed, fold=fold)
    values = {name: getattr(factors, name) for name in factors.__dataclass_fields__}
    return {**values, "run": str((factors, dataset)), "status": status, **figures}


def table(a, b, metric=ERROR, **factors):
    """Rows of both models, a seed each."""
    return [
        row(model, {metric: value}, seed=seed, **factors)
        for model, values in ((MULTI, a), (PLAIN, b))
        for seed, value in enumerate(values)
    ]


def found(rows, *parts, dataset="digits", cell=CELLS[0].name):
    (result,) = judge_claims(rows, [claim(*parts)])
    return result.parts[0].findings[Place(dataset, cell)]


def simulated(effect, sigma, seeds, studies, seed=0):
    """A study a dataset, so that all are judged at once: per cent effects N(effect, sigma²), with what seeds share."""
    rng = np.random.default_rng(seed)
    b = rng.lognormal(0, 0.5, (studies, seeds))
    a = b * (1 + rng.normal(effect, sigma, (studies, seeds)) / 100)
    return [r for i in range(studies) for r in table(a[i], b[i], dataset=f"study {i}")]


def shares(rows, expected):
    (result,) = judge_claims(rows, [claim(part(expected))])
    verdicts = [finding.verdict for finding in result.parts[0].findings.values()]
    words = "supported", "refuted", "no difference", "undecided"
    return {word: verdicts.count(word) / len(verdicts) for word in words}


def noise(share, studies=600):
    """Four standard deviations of a measured share."""
    return 4 * math.sqrt(share * (1 - share) / studies)


@pytest.mark.parametrize(("effect", "seeds"), [(-1.0, 3), (-1.0, 5), (-2.0, 5)])
def test_a_true_effect_is_found_as_often_as_theory_says(effect, seeds):
    power = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, -effect * math.sqrt(seeds))
    measured = shares(simulated(effect, 1.0, seeds, 600), LOWER)
    assert measured["supported"] == pytest.approx(power, abs=noise(power))
    assert measured["refuted"] <= 0.025


def test_no_effect_is_called_one_no_more_often_than_the_level_allows():
    measured = shares(simulated(0.0, 3.0, 5, 600), LOWER)
    assert measured["supported"] == pytest.approx(0.025, abs=noise(0.025))
    assert measured["refuted"] == pytest.approx(0.025, abs=noise(0.025))


def test_what_is_similar_is_found_so_as_often_as_theory_says():
    """TOST at 5 %: see the same oracle in test_statistics."""
    s = 1.1 * np.sqrt(stats.chi2.ppf((np.arange(9999) + 0.5) / 9999, 4) / 4)
    room = np.maximum(2 - stats.t.ppf(0.95, 4) * s / math.sqrt(5), 0)
    power = np.mean(2 * stats.norm.cdf(room * math.sqrt(5) / 1.1) - 1)
    assert 0.5 < power < 0.99
    measured = shares(simulated(0.0, 1.1, 5, 600), SIMILAR)
    assert measured["supported"] == pytest.approx(power, abs=noise(power))
    assert measured["refuted"] == 0


def test_what_is_just_not_similar_is_called_so_in_5_per_cent():
    assert shares(simulated(2.0, 0.8, 5, 600), SIMILAR)["supported"] == pytest.approx(0.05, abs=noise(0.05))
    assert shares(simulated(6.0, 0.8, 5, 600), SIMILAR)["refuted"] > 0.95


@pytest.mark.parametrize(
    ("low", "high", "expected", "verdict"),
    [
        (-3, -1, LOWER, "supported"),
        (-3, 1, LOWER, "undecided"),
        (1, 3, LOWER, "refuted"),
        (-1, 1, SIMILAR, "supported"),
        (-3, 3, SIMILAR, "undecided"),
        (1, 3, SIMILAR, "undecided"),
        (-5, -3, SIMILAR, "refuted"),
        (3, 5, SIMILAR, "refuted"),
        (0, 0, LOWER, "refuted"),  # both models are the same
        (0, 0, SIMILAR, "supported"),
        (-3, 0, LOWER, "undecided"),
        (math.nan, math.nan, LOWER, "undecided"),
    ],
)
def test_the_rule(low, high, expected, verdict):
    assert verdict_of(low, high, Question(expected.low, expected.high, "")) == verdict


@pytest.mark.parametrize(("expected", "level"), [(LOWER, 0.95), (HIGHER, 0.95), (SIMILAR, 0.9)])
def test_the_interval_is_scipys_at_the_level_of_the_expectation(expected, level):
    a, b = np.array([0.8, 1.9, 3.1, 3.9]), np.array([1.0, 2.0, 3.0, 4.1])
    finding = found(table(a, b), part(expected))
    oracle = stats.ttest_1samp(100 * (a - b) / b, 0)
    interval = oracle.confidence_interval(level)
    assert (finding.level, finding.pairs) == (level, 4)
    np.testing.assert_allclose(
        (finding.effect, finding.low, finding.high, finding.p),
        (np.mean(100 * (a - b) / b), interval.low, interval.high, oracle.pvalue),
    )
    np.testing.assert_allclose(finding.pair_effects, 100 * (a - b) / b)


def test_pairs_share_their_seed_and_not_their_place_in_the_table():
    rows = table([1.1, 2.2, 3.3], [1.0, 2.0, 3.0])
    np.random.default_rng(0).shuffle(rows)
    np.testing.assert_allclose(found(rows, part()).pair_effects, [10, 10, 10])


def test_only_rows_at_their_baseline_otherwise_count():
    rows = table([0.9, 1.8], [1.0, 2.0])
    for name, value in (("sampling", "uniform"), ("beta", 2.0), ("balancing", "softadapt"), ("depth", 8),
                        ("latent_dim", 64), ("kl_warmup", 4.0), ("fold", 0)):
        rows += [row(MULTI, {ERROR: 9.9}, seed=seed, **{name: value}) for seed in range(2)]
    np.testing.assert_allclose(found(rows, part()).pair_effects, [-10, -10])
    uniform = Model("uniform", {**MULTI.factors, "sampling": "uniform"})
    np.testing.assert_allclose(found(rows, part(a=uniform, b=MULTI)).pair_effects, [1000, 450])


def test_the_default_sampling_may_be_said_or_not():
    exact = Model("exact", {**MULTI.factors, "sampling": "exact"})
    assert found(table([0.9, 1.8], [1, 2]), part(a=exact)).pairs == 2


def test_two_metrics_of_one_run_are_compared():
    rows = [row(MULTI, {ERROR: 2.0 + seed, CONDITIONED: 1.0 + seed}, seed=seed) for seed in range(3)]
    finding = found(rows, part(a=MULTI, b=MULTI, metric=CONDITIONED, metric_b=ERROR))
    np.testing.assert_allclose(finding.pair_effects, [-50, -100 / 3, -25])
    assert "than its reconstruction error from z (" in finding.sentence


def test_a_difference_in_units_of_its_own():
    rows = [row(model, {"conditioned_gap": gap + seed}, seed=seed) for model, gap in ((MULTI, 20), (PLAIN, 15))
            for seed in range(2)]
    finding = found(rows, part(HIGHER, metric="conditioned_gap", unit="percentage points"))
    np.testing.assert_allclose(finding.pair_effects, [5, 5])
    assert "5.00 percentage points higher than that of a plain VAE" in finding.sentence


def test_two_rows_of_one_run_are_an_error():
    with pytest.raises(UserError, match=r"^results: two rows of the run gauss_plain, seed 1 on digits; remove one"):
        judge_claims([*table([1, 1], [1, 1]), row(PLAIN, {}, seed=1, status="failed")])


@pytest.mark.parametrize(
    ("change", "pairs", "reason"),
    [
        (lambda rows: [r | {"status": "failed"} for r in rows], 0, "0 of 3 pairs are complete; an interval takes 2"),
        (lambda rows: rows[3:], 0, "the study has no such runs"),
        (lambda rows: [], None, None),
        (lambda rows: [r | {"status": "missing" if r["seed"] else "complete"} for r in rows], 1,
         "1 of 3 pairs is complete; an interval takes 2"),
        (lambda rows: [r | {ERROR: math.nan if r["seed"] else 1.0} for r in rows], 1,
         "3 of 3 pairs are complete, 1 of which has finite figures; an interval takes 2"),
        (lambda rows: [r | {ERROR: None} for r in rows], 0,
         "3 of 3 pairs are complete, 0 of which have finite figures; an interval takes 2"),
    ],
    ids=["failed", "not planned", "empty", "one pair", "diverged", "no figure"],
)
def test_missing_runs_leave_a_part_undecided_and_say_why(change, pairs, reason):
    (result,) = judge_claims(change(table([0.9, 1.8, 2.7], [1, 2, 3])), [claim(part())])
    assert result.verdict == "undecided"
    for finding in result.parts[0].findings.values():
        assert (finding.verdict, finding.pairs, finding.reason) == ("undecided", pairs, reason)
        assert finding.low is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_run_that_is_not_complete_does_not_count_even_with_figures():
    rows = table([0.9, 1.8, 99.0], [1, 2, 3])
    rows[2]["status"] = "failed"
    np.testing.assert_allclose(found(rows, part()).pair_effects, [-10, -10])


def sure(effect, dataset="digits", seeds=5, **factors):
    """Rows whose effect is beyond doubt."""
    b = np.full(seeds, 100.0)
    return table(b + effect + 0.01 * np.arange(seeds), b, dataset=dataset, **factors)


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ({"x": -5, "y": -5}, "supported"),
        ({"x": -5, "y": 5}, "refuted"),
        ({"x": -5, "y": -0.02}, "no difference"),
        ({"x": -5, "y": None}, "undecided"),
        ({"x": 5, "y": None}, "refuted"),
    ],
)
def test_a_claim_stands_on_all_datasets_or_falls_on_one(effects, verdict):
    rows = [r for dataset, effect in effects.items()
            for r in (sure(effect, dataset) if effect else table([1], [1], dataset=dataset))]
    (result,) = judge_claims(rows, [claim(part(exploratory=False))])
    assert result.verdict == verdict


@pytest.mark.parametrize(
    ("second", "exploratory", "verdict"),
    [(HIGHER, False, "refuted"), (HIGHER, True, "supported"), (LOWER, True, "supported")],
)
def test_exploratory_parts_are_reported_and_do_not_count(second, exploratory, verdict):
    (result,) = judge_claims(sure(-5), [claim(part(exploratory=False), part(second, exploratory=exploratory))])
    assert result.verdict == verdict
    (finding,) = result.parts[1].findings.values()
    assert finding.verdict == ("supported" if second == LOWER else "refuted")
    assert result.to_dict()["parts"][1]["exploratory"] == exploratory


@pytest.mark.parametrize(
    ("expected", "effect", "direction", "size"),
    [
        (SUBSTANTIALLY_LOWER, -15, "supported", "supported"),
        (SUBSTANTIALLY_LOWER, -6, "supported", "refuted"),
        (SUBSTANTIALLY_LOWER, 6, "refuted", "refuted"),
        (SUBSTANTIALLY_LOWER, -0.02, "no difference", "refuted"),
        (SLIGHTLY_HIGHER, 6, "supported", "supported"),
        (SLIGHTLY_HIGHER, 15, "supported", "refuted"),
        (SLIGHTLY_HIGHER, -15, "refuted", "refuted"),
        (SLIGHTLY_LOWER, -6, "supported", "supported"),
        (LOWER, -0.5, "supported", None),
        (SIMILAR, -0.5, "supported", None),
        (SIMILAR, 15, "refuted", None),
    ],
)
def test_direction_and_size_are_judged_apart(expected, effect, direction, size):
    (result,) = judge_claims(sure(effect), [claim(part(expected, exploratory=False))])
    (finding,) = result.parts[0].findings.values()
    assert finding.direction.verdict == direction
    assert (finding.size and finding.size.verdict) == size
    assert finding.settled
    worst = "refuted" if "refuted" in (direction, size) else direction
    assert (result.verdict, result.sizes) == (direction, {CELLS[0].name: worst})


def test_a_claim_may_hold_in_one_main_cell_alone():
    thesis = MAIN[1].of_latent["gaussian"]
    rows = sure(5) + sure(-5, **thesis)
    (result,) = judge_claims(rows, [claim(part(exploratory=False))])
    assert result.directions == {MAIN[0].name: "refuted", MAIN[1].name: "supported"}
    assert result.verdict == "depends"
    # A quantised latent has no KL divergence to be weighed: both cells are one
    vq = [Model(method, {"latent": "vq", "method": method}) for method in ("multi_decoder", "plain")]
    rows += [row(model, {ERROR: value + seed / 1e4}, seed=seed)
             for model, value in zip(vq, (0.95, 1.0), strict=True) for seed in range(5)]
    (result,) = judge_claims(rows, [claim(part(a=vq[0], b=vq[1], exploratory=False))])
    assert result.directions == {MAIN[0].name: "supported", MAIN[1].name: "supported"}
    assert [place.cell for place in result.parts[0].findings] == [MAIN[0].name]


def test_headline_parts_are_found_in_the_cells_of_their_claim():
    spatial = next(cell for cell in CELLS if cell.name == "spatial merge, σ² = 0.01")
    rows = sure(-5) + [r for r in sure(7, merge="spatial") if r["method"] != "plain"]
    headline = part(exploratory=False, headline=True)
    (result,) = judge_claims(rows, [claim(headline)])
    assert result.verdict == "supported", "the map has no say"
    assert result.parts[0].findings[Place("digits", spatial.name)].effect == pytest.approx(7.02)
    (other,) = judge_claims(rows, [Claim("C7", "", "", (headline,))])  # which that cell is not for
    assert [place.cell for place in other.parts[0].findings] == [CELLS[0].name]


def test_of_the_first_look_that_decides_the_verdict_stays():
    b = np.full(8, 100.0)
    a = b + np.array([-5.0, -5.01, -5.02, -5.03, 40.0, 60.0, 50.0, 45.0])
    finding = found(table(a, b), part(exploratory=False))
    assert (finding.verdict, finding.direction.decided_at) == ("supported", 3)
    assert finding.effect > 0
    assert found(table(a, b), part()).verdict == "undecided"  # looked at once, at the end


def test_an_undecided_part_says_how_many_pairs_it_would_take():
    rng = np.random.default_rng(2)
    effects = rng.normal(0, 1, 5)
    effects = -0.9 + (effects - effects.mean()) / effects.std(ddof=1)
    b = np.full(5, 100.0)
    finding = found(table(b + effects, b), part(exploratory=False))
    assert finding.verdict == "undecided"
    needed = finding.direction.pairs_needed
    assert 5 < needed <= 20
    # As many effects of the same mean and spread are decided then, and not before
    again = rng.normal(0, 1, needed)
    again = -0.9 + (again - again.mean()) / again.std(ddof=1)
    assert found(table(100 + again, np.full(needed, 100.0)), part(exploratory=False)).verdict != "undecided"


def test_more_than_the_most_pairs_do_not_count():
    b = np.full(25, 100.0)
    a = b + np.r_[np.random.default_rng(0).normal(0, 30, 20), np.full(5, -90.0)]
    assert found(table(a, b), part(exploratory=False)).pairs == 20


def test_the_highest_of_a_factor_is_the_highest_that_the_study_has():
    deep = Model("the deepest", {**PLAIN.factors, "depth": HIGHEST})
    four = Model("four", {**PLAIN.factors, "depth": 4})
    rows = [row(PLAIN, {KL: 10.0 - depth}, depth=depth, seed=seed) for depth in (2, 4, 8) for seed in range(2)]
    deepest = part(a=deep, b=four, metric=KL)
    np.testing.assert_allclose(found(rows, deepest).pair_effects, [100 * (2 - 6) / 6] * 2)
    # Not yet run: it is still the one that is meant
    waiting = [r | {"status": "missing"} if r["depth"] == 8 else r for r in rows]
    assert found(waiting, deepest).reason == "0 of 2 pairs are complete; an interval takes 2"
    # Where nothing is deeper, four layers are not compared with themselves
    assert found([r for r in rows if r["depth"] != 8], deepest).reason == "the study has no such runs"
    assert found(table([1, 2], [1, 2]), deepest).reason == "the study has no such runs"


def test_depth_said_and_unsaid_is_no_comparison():
    four = Model("four", {**PLAIN.factors, "depth": 4})
    rows = [row(PLAIN, {KL: 3.0}, depth=depth, seed=seed) for depth in (4, None) for seed in range(2)]
    rows = [r | {"run": f"same {r['seed']}"} for r in rows]
    assert found(rows, part(a=four, metric=KL)).reason == "the study has no such runs"


def sweep(slope, values, *, seeds=3, start=1.0, spread=0.01, model=SINGLE, axis="exponent"):
    return [
        row(model, {ERROR: start * (1 + spread * seed) * (1 + slope * (value - values[0]))}, seed=seed, **{axis: value})
        for seed in range(seeds)
        for value in values
    ]


def test_a_trend_is_the_change_along_the_fitted_line():
    trend = part(a=SINGLE, b=None, along="exponent")
    finding = found(sweep(-0.002, (20.0, 30.0, 60.0)), trend)
    np.testing.assert_allclose(finding.pair_effects, [-8.0] * 3)  # −0.2 % of the start a step, 40 steps
    rng = np.random.default_rng(0)
    rows = [r | {ERROR: r[ERROR] + rng.normal(0, 0.1)} for r in sweep(-0.002, (20.0, 30.0, 60.0), seeds=2)]
    for seed, effect in enumerate(found(rows, trend).pair_effects):
        y = [r[ERROR] for r in rows if r["seed"] == seed]
        fit = stats.linregress((20, 30, 60), y)
        assert effect == pytest.approx(100 * 40 * fit.slope / (fit.intercept + 20 * fit.slope))


@pytest.mark.parametrize("values", [(20.0,), (20.0, 60.0)])
def test_two_values_are_no_trend(values):
    finding = found(sweep(-0.002, values), part(a=SINGLE, b=None, along="exponent"))
    assert finding.reason == "the study has no such runs"


def test_a_sweep_with_a_run_missing_is_left_out():
    rows = sweep(-0.002, (20.0, 30.0, 60.0))
    rows[0]["status"] = "missing"
    assert found(rows, part(a=SINGLE, b=None, along="exponent")).pairs == 2
    rows[5]["status"] = "failed"
    finding = found(rows, part(a=SINGLE, b=None, along="exponent"))
    assert finding.reason == "1 of 3 sweeps is complete; an interval takes 2"


def curve(model, scale, *, seeds=3, shift=0.0, spread=0.004):
    """log error falls in a straight line over the KL divergence; `shift` moves along it."""
    return [
        row(model, {KL: kl + shift, ERROR: scale * (1 + spread * seed) * math.exp(-0.05 * (kl + shift))}, seed=seed,
            beta=beta)
        for seed in range(seeds)
        for beta, kl in zip((None, 8e-5, 2.5e-4, 8e-4, 2.5e-3), (30, 24, 18, 13, 9), strict=True)
    ]


@pytest.mark.parametrize(("scale", "verdict"), [(0.95, "supported"), (1.0, "refuted"), (1.04, "refuted")])
def test_models_are_compared_at_equal_rate(scale, verdict):
    """At equal β the shifted model is better by 9.5 %, and at equal rate by `scale` alone."""
    rows = curve(MULTI, scale, shift=2.0) + curve(PLAIN, 1.0)
    assert found(rows, part()).effect == pytest.approx(100 * (scale * math.exp(-0.1) - 1))
    finding = found(rows, part(along="beta"))
    np.testing.assert_allclose(finding.pair_effects, [100 * (scale - 1)] * 3, atol=1e-9)
    if scale != 1.0:  # there rounding decides
        assert finding.verdict == verdict
    apart = curve(MULTI, scale, shift=40.0) + curve(PLAIN, 1.0)
    finding = found(apart, part(along="beta"))
    assert finding.verdict == "undecided"
    assert finding.reason == ("3 of 3 sweeps are complete, 0 of which have finite figures on a common range of rates; "
                              "an interval takes 2")


def test_folds_are_kept_apart_from_seeds():
    rng = np.random.default_rng(3)
    rows, effects = table([2.0, 2.0], [1.0, 1.0]), rng.normal(-5, 1, (3, 2))
    for (fold, seed), effect in np.ndenumerate(effects):
        rows += [row(MULTI, {ERROR: 1 + effect / 100}, fold=fold, seed=seed), row(PLAIN, {ERROR: 1.0}, fold=fold,
                                                                                seed=seed)]
    np.testing.assert_allclose(found(rows, part()).pair_effects, [100, 100])
    finding = found(rows, part(folds=True))
    np.testing.assert_allclose(np.sort(finding.pair_effects), np.sort(effects.ravel()))
    # All draws of folds and seeds, see test_statistics
    draws = [effects[np.ix_((i, j, k), (m, n))].mean() for i in range(3) for j in range(3) for k in range(3)
             for m in range(2) for n in range(2)]
    half = stats.t.ppf(0.975, 2) * np.std(draws) * math.sqrt(3 / 2)
    np.testing.assert_allclose((finding.low, finding.high), (effects.mean() - half, effects.mean() + half), rtol=0.05)
    assert found(rows, part(folds=True)) == finding, "the bootstrap has chance in it"


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ([0.95, 0.94, 0.96], [1, 1, 1],
         "The reconstruction error from z of the multi-decoder is 5.0 % lower than that of a plain VAE (95 % interval: "
         "2.5 to 7.5 % lower; 3 pairs)."),
        ([1.05, 1.04, 1.06], [1, 1, 1],
         "The reconstruction error from z of the multi-decoder is 5.0 % higher than that of a plain VAE (95 % "
         "interval: 2.5 to 7.5 % higher; 3 pairs)."),
        ([1.01, 0.99, 0.97], [1, 1, 1],
         "The reconstruction error from z of the multi-decoder is 1.0 % lower than that of a plain VAE (95 % interval: "
         "6.0 % lower to 4.0 % higher; 3 pairs)."),
        ([0.9, 0.8], [0.9, 0.8], "The reconstruction error from z of the multi-decoder is as high as that of a plain "
                                 "VAE in all of 2 pairs."),
        ([0.9], [1], "The reconstruction error from z of the multi-decoder is 10.00 % lower than that of a plain VAE "
                     "(1 pair, without an interval)."),
        ([], [1], "Nothing has been measured of the reconstruction error from z of the multi-decoder to compare."),
    ],
)
def test_the_sentence_says_what_was_measured(a, b, sentence):
    assert found(table(a, b), part()).sentence == sentence


def test_results_are_json_that_a_report_can_read():
    rows = table([0.9, 1.8, 2.8], [1, 2, 3])
    (result,) = judge_claims(rows, [claim(part(), part(SIMILAR))])
    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert read == result.to_dict() | {"parts": read["parts"]}
    assert [p["expected"] for p in read["parts"]] == [[None, 0.0], [-2.0, 2.0]]
    assert read["parts"][0]["latents"] == ["gaussian"]
    (place,) = read["parts"][0]["findings"]
    assert (place["dataset"], place["cell"], place["main"], place["pairs"]) == ("digits", CELLS[0].name, True, 3)
    assert place["direction"]["verdict"] == place["verdict"]


def test_all_claims_are_judged_on_no_runs_and_on_few():
    assert {result.verdict for result in judge_claims([])} == {"undecided"}
    results = judge_claims(table([0.9, 1.8, 2.8], [1, 2, 3]))
    assert [result.claim for result in results] == list(CLAIMS)
    assert {result.verdict for result in results} == {"undecided"}
    json.dumps([result.to_dict() for result in results], allow_nan=False)
    for result in results:
        for of_part in result.parts:
            (finding,) = of_part.findings.values()
            assert (finding.reason is None) == finding.settled
