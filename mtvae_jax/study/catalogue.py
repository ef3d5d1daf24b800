"""The studies of the thesis as data: which runs each figure and each section takes."""

import dataclasses
from collections.abc import Callable

from mtvae_jax.study.claims import CLAIMS, runs_needed
from mtvae_jax.study.factors import BALANCING, Factors

_SOFTADAPT = tuple(name for name in BALANCING if name.startswith("softadapt"))


@dataclasses.dataclass(frozen=True)
class Study:
    """**Attributes:** `title`; `kinds`: function of a `Protocol` that gives its runs, as fields of `Factors` without
    dataset, seed and fold; `folds`: whether they are run once a fold and not once a seed."""

    title: str
    kinds: Callable
    folds: bool = False


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
        _kind("gaussian", method, beta_scale=scale)
        for method in ("plain", "multi_decoder", "single_decoder")
        for scale in protocol.beta_scales
    ]


def _refuted(protocol):
    """Whether a refutation comes from the weight of two reconstructions in the loss, or from the fully connected layer
    through which m is merged."""
    del protocol
    return [
        *(_kind(latent, "multi_decoder", balancing="halves") for latent in ("gaussian", "vq")),
        *(_kind("gaussian", "multi_decoder", sampling=s, merge="spatial") for s in ("exact", "uniform")),
        _kind("vq", "multi_decoder", merge="spatial"),
        _kind("gaussian", "single_decoder", merge="spatial"),
        _kind("vq", "single_decoder", exponent=60.0, merge="spatial"),
        _kind("gaussian", "plain"),
        _kind("vq", "plain"),
    ]


def _headline(protocol):
    """What the claims compare over folds (thesis 4.3)."""
    axes = {"exponent": protocol.exponents}
    return [run for claim in CLAIMS for run in runs_needed(claim, axes, folds=True)]


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
    "refuted": Study("What was refuted, looked into", _refuted),
    "rate_distortion": Study("Reconstruction at equal rate", _rate_distortion),
    "cross_validation": Study("Cross-validation", _headline, folds=True),
}
ALL = "all"


def plan(name, protocol):
    """The runs of a study, each once, all kinds with one seed before any with the next: what is stopped half way has
    the whole picture, only less sharp.

    **Arguments:** `name`: a key of `STUDIES`, or "all"; `protocol`: `Protocol`.
    **Returns:** a list of `Factors`.
    """
    studies = list(STUDIES.values()) if name == ALL else [STUDIES[name]]
    runs = [
        Factors(dataset=dataset, seed=seed, **kind)
        for seed in range(protocol.seeds)
        for study in studies
        if not study.folds
        for dataset in protocol.datasets
        for kind in study.kinds(protocol)
    ]
    runs += [
        Factors(dataset=dataset, seed=seed, fold=fold, **kind)
        for seed in range(protocol.fold_seeds)
        for study in studies
        if study.folds
        for fold in range(protocol.folds)
        for dataset in protocol.datasets
        for kind in study.kinds(protocol)
    ]
    return list(dict.fromkeys(runs))
