"""The thesis' outline as data: which claims and figures belong to which of its sections."""

import dataclasses
from collections.abc import Callable

from mtvae_jax.study.report import charts


@dataclasses.dataclass(frozen=True)
class Outline:
    """A section of the thesis.

    **Attributes:** `number`, `title`: the thesis' own; `parent`: heading of the section above it, or None; `claims`:
    their ids; `latent`: parts about runs of this latent alone, None: of any; `charts`: function of results and the
    names of datasets that gives figures; `weighed`: ids of claims that an earlier section has reported, and this one
    shows beside each other.
    """

    number: str
    title: str
    parent: str | None = None
    claims: tuple = ()
    latent: str | None = None
    charts: Callable = lambda results, names: []
    weighed: tuple = ()


_MULTI, _SINGLE = "4.1 Results of Multi-decoder method", "4.2 Results of Single decoder method"
_ABOUT_MULTI, _ABOUT_SINGLE = "5.1 Analysis of Multi-decoder method", "5.2 Analysis of Single decoder method"

OUTLINE = (
    Outline("3.2.1", "Conditioning strategy", charts=charts.sampling_types),
    Outline(
        "4.1.1", "Results on Gaussian VAEs", _MULTI, ("C1", "C2", "C3", "C4", "C10"), "gaussian",
        lambda results, names: [
            *charts.reconstructions(results, names, "4.1"),
            *charts.validation_curves(results, names, "4.2", "gaussian", "multi_decoder"),
            *charts.depth(results, names),
        ],
    ),
    Outline(
        "4.1.2", "Results on VQ-VAEs", _MULTI, ("C2", "C3", "C4", "C5"), "vq",
        lambda results, names: [
            *charts.reconstructions(results, names, "4.3"),
            *charts.validation_curves(results, names, "4.4", "vq", "multi_decoder"),
        ],
    ),
    Outline(
        "4.2.1", "Results on Gaussian VAEs", _SINGLE, ("C6", "C7", "C8"), "gaussian",
        lambda results, names: [
            *charts.validation_curves(results, names, "4.5", "gaussian", "single_decoder"),
            *charts.exponents(results, names, "gaussian"),
        ],
    ),
    Outline(
        "4.2.2", "Results on VQ-VAEs", _SINGLE, ("C9",), "vq",
        lambda results, names: [
            *charts.validation_curves(results, names, "4.6", "vq", "single_decoder"),
            *charts.exponents(results, names, "vq"),
        ],
    ),
    Outline("4.3", "Cross-validation results", None, ("C12",)),
    # The thesis' own explanation, less emphasis on the KL divergence, is given in 5.1.1: there C11 tests it.
    Outline("5.1.1", "Findings on Gaussian VAEs", _ABOUT_MULTI, ("C11", "C14"), "gaussian", charts.rate_distortion,
            weighed=("C1", "C2", "C3", "C4", "C10")),
    Outline("5.1.2", "Findings on VQ-VAEs", _ABOUT_MULTI, ("C14",), latent="vq", weighed=("C2", "C3", "C4", "C5")),
    Outline("5.2.1", "Findings on Gaussian VAEs", _ABOUT_SINGLE, ("C13",), "gaussian", weighed=("C6", "C7", "C8")),
    Outline("5.2.2", "Findings on VQ-VAEs", _ABOUT_SINGLE, latent="vq", weighed=("C9",)),
)
