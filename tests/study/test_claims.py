"""The table of claims: that it is about runs that exist, and says what the thesis says."""

import dataclasses
import math

import pytest

from mtvae_jax.study.catalogue import ALL, axes_of, plan
from mtvae_jax.study.cells import CELLS
from mtvae_jax.study.claims import AXES, CLAIMS, HIGHEST, METRICS, Expected, Model, Part, along, runs_needed
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.protocols import PROTOCOLS
from mtvae_jax.study.report.sections import OUTLINE

PARTS = [pytest.param(part, id=f"{claim.id}-{part.name}") for claim in CLAIMS for part in claim.parts]
LOWER = Expected(-math.inf, 0, "lower")


def test_there_are_fourteen():
    assert [claim.id for claim in CLAIMS] == [f"C{n}" for n in range(1, 15)]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_has_parts_that_count_before_those_that_do_not(claim):
    exploratory = [part.exploratory for part in claim.parts]
    assert not exploratory[0]
    assert exploratory == sorted(exploratory)
    assert len({part.name for part in claim.parts}) == len(claim.parts)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_reported_in_the_sections_that_it_names(claim):
    sections = [outline.number for outline in OUTLINE if claim.id in outline.claims]
    assert claim.section == ", ".join(sections)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_expects_something_of_a_figure_that_there_is(part):
    assert part.metric in METRICS
    assert part.metric_b is None or part.metric_b in METRICS
    assert part.expected.low < part.expected.high
    assert math.isfinite(part.expected.low) or math.isfinite(part.expected.high)
    both_are_relative = part.unit == "%" or not (part.expected.words.endswith("%)"))
    assert both_are_relative, "an expectation in per cent of a difference that is not"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_compares_two_different_things(part):
    if part.b is None:
        assert part.along is not None
        return
    a, b = along(part.a.factors, part.along, AXES), along(part.b.factors, part.along, AXES)
    assert (a, part.metric) != (b, part.metric_b or part.metric)
    differ = {name for name in {*a[0], *b[0]} if a[0].get(name) != b[0].get(name)}
    if "method" in differ:  # which brings factors of its own
        differ -= {"sampling", "exponent", "balancing", "merge"}
    assert len(differ) <= 1, "two things vary at once"


@pytest.mark.parametrize("part", PARTS)
def test_the_models_of_a_part_have_the_figure(part):
    """KL is of Gaussian latents, the VQ objective of quantised ones, m of methods that have it."""
    latents = {"test/kl": "gaussian", "kl_per_unit": "gaussian", "test/active_units": "gaussian", "test/vq": "vq"}
    for model, metric in ((part.a, part.metric), (part.b, part.metric_b or part.metric)):
        if model is not None:
            assert latents.get(metric, model.factors["latent"]) == model.factors["latent"]
            if metric in ("test/reconstruction_conditioned", "conditioned_gap"):
                assert model.factors["method"] != "plain"


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_run_that_a_claim_needs_is_planned(claim, protocol):
    planned = set(plan(ALL, protocol))
    needed = {
        Factors(**run, dataset=protocol.datasets[0], fold=0 if folds else None)
        for folds in (False, True)
        for run in runs_needed([part for part in claim.parts if part.folds == folds], axes_of(protocol))
    }
    assert needed
    assert not {str(run) for run in needed - planned}


def test_runs_needed_are_each_there_once():
    single = Model("single", {"latent": "vq", "method": "single_decoder"})
    plain = Model("plain", {"latent": "vq", "method": "plain", "depth": HIGHEST})
    parts = (
        Part("", single, None, "test/vq", LOWER, "", along="exponent"),
        Part("", single, plain, "test/vq", LOWER, ""),
        Part("", plain, single, "test/vq", LOWER, ""),
    )
    axes = {"exponent": (20.0, 60.0), "depth": (2, 8, 4)}
    deep = {**plain.factors, "depth": 8}
    assert runs_needed(parts, axes) == [
        {**single.factors, "exponent": 20.0}, {**single.factors, "exponent": 60.0}, single.factors, deep,
    ]
    assert runs_needed([parts[1]], {}) == [single.factors]  # there is no highest of nothing


@pytest.mark.parametrize("name", AXES)
def test_every_axis_is_a_factor(name):
    assert name in {field.name for field in dataclasses.fields(Factors)}


def test_cells_name_claims_and_factors_that_there_are():
    ids = {claim.id for claim in CLAIMS if any(part.headline for part in claim.parts)}
    fields = {field.name for field in dataclasses.fields(Factors)}
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert CELLS[0].fields({"latent": "gaussian"}) == {"latent": "gaussian"}, "the first is the default"
    for cell in CELLS:
        assert set(cell.claims or ()) <= ids, cell.name
        assert cell.factor in fields, cell.name
        assert {*cell.common, *(name for of in cell.of_latent.values() for name in of)} <= fields, cell.name
