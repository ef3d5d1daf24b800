"""The studies of the thesis as data: which runs each figure and each section takes."""

import dataclasses
from collections.abc import Callable

from mtvae_jax.study.claims import CLAIMS, runs_needed
from mtvae_jax.study.factors import BALANCING, Factors
from mtvae_jax.study.protocols import AUTO

_SOFTADAPT = tuple(name for name in BALANCING if name.startswith("softadapt"))


@dataclasses.dataclass(frozen=True)
class Study:
    """**Attributes:** `title`; `kinds`: function of a `Protocol` that gives its runs, as fields of `Factors` without
    dataset, seed and fold; `folds`: whether they are run once a fold and not once a seed; `mapped`: whether `kinds` has
    put them in their cells; they are run in the main ones otherwise."""

    title: str
    kinds: Callable
    folds: bool = False
    mapped: bool = False


def _kind(latent, method, **factors):
    return {"latent": latent, "method": method, **factors}


def _multi(latent):
    """Plain against multi-decoder, with both of its sampling types (thesis 4.1)."""
    return [_kind(latent, "plain"), *(_kind(latent, "multi_decoder", sampling=s) for s in ("exact", "uniform"))]


def _single(latent):
    """Plain against single-decoder, with both of its sampling types (thesis 4.2)."""
    return [_kind(latent, "plain"), *(_kind(latent, "single_decoder", sampling=s) for s in ("uniform", "gaussian"))]


def _exponents(protocol):
    return [
        _kind(latent, "single_decoder", exponent=exponent)
        for latent in ("gaussian", "vq")
        for exponent in protocol.exponents
    ] + [
        # 4.2.2 finds gaussian sampling the better one "with a high enough exponent"
        _kind("vq", "single_decoder", sampling="gaussian", exponent=max(protocol.exponents)),
        _kind("gaussian", "single_decoder", sampling="gaussian", replacement=False),
        _kind("gaussian", "plain"),
        _kind("vq", "plain"),
    ]


def _balancing(protocol):
    del protocol
    return [
        *(_kind("gaussian", "multi_decoder", balancing=name) for name in BALANCING),
        *(_kind("vq", "multi_decoder", balancing=name) for name in ("fixed", *_SOFTADAPT)),
        _kind("gaussian", "plain"),
        _kind("vq", "plain"),
    ]


def _depth(protocol):
    deepest = max(protocol.depths)
    return [
        *(_kind("gaussian", "plain", depth=depth) for depth in protocol.depths),
        *(_kind("gaussian", "plain", depth=deepest, kl_warmup=epochs) for epochs in protocol.kl_warmups),
    ]


def _rate_distortion(protocol):
    return [
        _kind("gaussian", method, beta=beta)
        for method in ("plain", "multi_decoder", "single_decoder")
        for beta in protocol.betas
    ]


def _halves(protocol):
    """Whether a refutation comes from the weight of two reconstructions in the loss."""
    del protocol
    return [_kind(latent, method, **factors) for latent in ("gaussian", "vq")
            for method, factors in (("plain", {}), ("multi_decoder", {"balancing": "halves"}))]


def map_runs(cell, protocol):
    """Returns what the headline parts of a cell's claims compare, in it."""
    parts = [part for claim in CLAIMS if claim.id in cell.claims for part in claim.parts if part.headline]
    return [cell.fields(run) for run in runs_needed(parts, axes_of(protocol))]


def _folds(protocol):
    """What the claims compare over folds (thesis 4.3)."""
    return runs_needed([part for claim in CLAIMS for part in claim.parts if part.folds], axes_of(protocol))


def axes_of(protocol):
    """Returns {factor: the values that a protocol has of it, in order}, as `claims.AXES`."""
    return {
        "exponent": protocol.exponents,
        "beta": protocol.betas,
        "depth": protocol.depths,
        "kl_warmup": (0.0, *protocol.kl_warmups),
    }


STUDIES = {
    "figure_3_6": Study("Sampling types", lambda _: []),
    "figure_4_1": Study("Both reconstructions of a Gaussian VAE", lambda _: [_kind("gaussian", "multi_decoder")]),
    "figure_4_2": Study("Gaussian VAE, with and without a second decoder", lambda _: _multi("gaussian")),
    "figure_4_3": Study("Both reconstructions of a VQ-VAE", lambda _: [_kind("vq", "multi_decoder")]),
    "figure_4_4": Study("VQ-VAE, with and without a second decoder", lambda _: _multi("vq")),
    "figure_4_5": Study("Gaussian VAE, with and without a decoder for both", lambda _: _single("gaussian")),
    "figure_4_6": Study("VQ-VAE, with and without a decoder for both", lambda _: _single("vq")),
    "exponents": Study("The exponent of the power law", _exponents),
    "balancing": Study("Loss balancing", _balancing),
    "depth": Study("Depth and posterior collapse", _depth),
    "halves": Study("Two reconstructions at half weight", _halves),
    "rate_distortion": Study("Reconstruction at equal rate", _rate_distortion),
    "cross_validation": Study("Cross-validation", _folds, folds=True),
    "map": Study("The conditions under which the claims hold", mapped=True, kinds=lambda protocol: [
        run for cell in protocol.cells if not cell.main for run in map_runs(cell, protocol)
    ]),
}
ALL = "all"


def plan(name, protocol):
    """Returns the runs of a study, each once, all kinds with one seed before any with the next: what is stopped half
    way has the whole picture, only less sharp.

    **Arguments:** `name`: a key of `STUDIES`, or "all"; `protocol`: `Protocol`.
    **Returns:** a list of `Factors`.
    """
    studies = list(STUDIES.values()) if name == ALL else [STUDIES[name]]
    seeds = protocol.first_pairs if protocol.seeds == AUTO else protocol.seeds
    runs = [
        Factors(dataset=dataset, seed=seed, **kind)
        for seed in range(seeds)
        for study in studies
        if not study.folds and (not study.mapped or seed < protocol.map_pairs)
        for dataset in protocol.datasets
        for kind in in_cells(study, protocol)
    ]
    runs += [
        Factors(dataset=dataset, seed=seed, fold=fold, **kind)
        for seed in range(protocol.fold_seeds)
        for study in studies
        if study.folds
        for fold in range(protocol.folds)
        for dataset in protocol.datasets
        for kind in in_cells(study, protocol)
    ]
    return list(dict.fromkeys(runs))


def in_cells(study, protocol):
    """Returns the runs of a study in its cells, as `kinds` gives them."""
    if study.mapped:
        return study.kinds(protocol)
    return [cell.fields(kind) for cell in protocol.cells if cell.main for kind in study.kinds(protocol)]
