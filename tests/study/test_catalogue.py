"""Which runs a study takes, and that each is the run that its factors say."""

import importlib
import re
import sys

import pytest
from small_runs import ROOT

from mtvae_jax.config import identity, resolve, run_hash, to_dict
from mtvae_jax.errors import UserError
from mtvae_jax.study.catalogue import ALL, STUDIES, axes_of, plan
from mtvae_jax.study.claims import CLAIMS, runs_needed
from mtvae_jax.study.factors import ALL_IMAGES, BALANCING, Factors, config_of
from mtvae_jax.study.protocols import PROTOCOLS

SHAPE = (28, 28, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_run_of_every_study_has_a_config_of_its_own(protocol):
    runs = plan(ALL, protocol)
    hashes = {}
    for factors in runs:
        hashes.setdefault(run_hash(resolve(config_of(factors, protocol), SHAPE)), []).append(factors)
    for same in hashes.values():  # only the thesis' own depth, width and images may be said in two ways
        assert len({re.sub(", (4 layers|1/1 of the channels|all images)", "", str(f)) for f in same}) == 1, same
    assert len(runs) == len(set(runs))


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_all_studies_together_have_what_every_claim_needs(protocol):
    runs = set(plan(ALL, protocol))
    for part in (part for claim in CLAIMS for part in claim.parts):
        for kind in runs_needed([part], axes_of(protocol)):
            for cell in protocol.cells if part.headline else protocol.cells[:1]:
                where = {"dataset": protocol.datasets[0], "fold": 0 if part.folds else None}
                if cell.main:
                    assert Factors(**where, **cell.fields(kind)) in runs, (part.name, kind, cell.name)


def test_a_study_takes_the_runs_of_the_studies_it_contains():
    protocol = PROTOCOLS["small"]
    everything = set(plan(ALL, protocol))
    for name in STUDIES:
        assert set(plan(name, protocol)) <= everything, name
    assert everything == {run for name in STUDIES for run in plan(name, protocol)}


def test_all_kinds_have_a_first_run_before_any_has_a_second():
    runs = [run for run in plan(ALL, PROTOCOLS["full"]) if run.fold is None]
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds)


@pytest.mark.parametrize(
    ("name", "latent", "method"),
    [
        ("gauss_plain", "gaussian", "plain"),
        ("gauss_semi", "gaussian", "semi_conditional"),
        ("gauss_multi", "gaussian", "multi_decoder"),
        ("gauss_single", "gaussian", "single_decoder"),
        ("vq_plain", "vq", "plain"),
        ("vq_semi", "vq", "semi_conditional"),
        ("vq_multi", "vq", "multi_decoder"),
        ("vq_single", "vq", "single_decoder"),
    ],
)
def test_the_thesis_own_runs_are_those_that_configs_trains(name, latent, method, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop(f"configs.{name}", None)
    by_hand = importlib.import_module(f"configs.{name}").get_config("mnist")
    of_study = config_of(Factors(dataset="mnist", latent=latent, method=method), PROTOCOLS["full"])
    assert identity(to_dict(resolve(of_study, SHAPE))) == identity(to_dict(resolve(by_hand, SHAPE)))


def test_factors_become_fields():
    factors = Factors(
        dataset="mnist", latent="gaussian", method="single_decoder", sampling="gaussian", replacement=False,
        exponent=60.0, beta=2.5e-4, kl_warmup=3.0, latent_dim=64, merge="spatial", head="full",
        narrower=2, images=ALL_IMAGES, seed=4, fold=1,
    )
    config = resolve(config_of(factors, PROTOCOLS["small"]), SHAPE)
    assert config.conditioning.sampling == "gaussian"
    assert not config.conditioning.replacement
    assert config.conditioning.exponent == 60.0
    assert config.loss.beta == 2.5e-4
    assert config.loss.variance == pytest.approx(2.5e-4 * 784 / 2)
    assert config.loss.kl_warmup_epochs == 3.0
    assert (config.model.latent_dim, config.model.merge, config.model.head) == (64, "spatial", "full")
    assert config.model.hidden_dims == (16, 32, 64, 128)
    assert config.data.max_train is None
    assert (config.seed, config.data.fold, config.data.num_folds) == (4, 1, 5)
    assert not config.data.substitute


@pytest.mark.parametrize(("depth", "strided", "residual"), [(2, 2, 0), (4, 4, 0), (6, 4, 2)])
def test_depth_counts_layers_and_deeper_ones_keep_the_size(depth, strided, residual):
    config = config_of(Factors(dataset="mnist", latent="gaussian", method="plain", depth=depth), PROTOCOLS["full"])
    assert len(config.model.hidden_dims) == strided
    assert config.model.residual_layers == residual
    with pytest.raises(UserError, match="depth = 2: is of models without residual layers, and vq has some"):
        config_of(Factors(dataset="mnist", latent="vq", method="plain", depth=2), PROTOCOLS["full"])


@pytest.mark.parametrize("balancing", BALANCING)
def test_loss_balancing_keeps_what_it_does_not_name(balancing):
    factors = Factors(dataset="mnist", latent="gaussian", method="multi_decoder", balancing=balancing)
    config = config_of(factors, PROTOCOLS["full"])
    assert (config.loss.balancing == "softadapt") == balancing.startswith("softadapt")
    assert config.loss.weights == {"coefficients": (1.0, 0.5), "halves": (0.5, 0.5)}.get(balancing, (1.0, 1.0))


def test_a_run_is_named_as_a_person_would():
    single = Factors(dataset="mnist", latent="vq", method="single_decoder", exponent=60.0, seed=1, fold=2)
    assert str(single) == "vq_single, uniform sampling, exponent 60, fold 2, seed 1"
    assert str(Factors(dataset="mnist", latent="gaussian", method="plain")) == "gauss_plain, seed 0"
