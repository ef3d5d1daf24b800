"""The verdicts as the report reads them: one flat record for each part of a claim on each dataset.

They come as `mtvae_jax.study.verdicts.ClaimResult.to_dict` gives them: what is not known is None, an open end of what
is expected too.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Part:
    """**Attributes:** `claim`: "C1"; `name`; `latents`: of the runs it compares; `unit`; `expected_words`; `expected`:
    (low, high); `effect`, `low`, `high`: None where there is none; `pairs`; `verdict`; `pair_effects`: of each pair;
    `exploratory`: has no say in the claim's verdict; `sentence`: what was measured; `reason`: of there being no
    verdict, else None."""

    claim: str
    name: str
    latents: tuple
    dataset: str
    unit: str
    expected_words: str
    expected: tuple
    effect: float | None
    low: float | None
    high: float | None
    pairs: int
    verdict: str
    pair_effects: tuple
    exploratory: bool
    sentence: str
    reason: str | None


def parts_of(claim):
    """The `Part`s of one claim, a part with its datasets before the next part."""
    return [
        _part(claim, part, dataset, found) for part in claim["parts"] for dataset, found in part["datasets"].items()
    ]


def spoken_to(claim):
    """Whether any run of the study speaks to a claim."""
    return any(part.pairs for part in parts_of(claim))


def decisive(claim):
    """The part that a claim's verdict hangs on: the first of those that have the same verdict."""
    parts = [part for part in parts_of(claim) if not part.exploratory]
    return next((part for part in parts if part.verdict == claim["verdict"] and part.pairs),
                next((part for part in parts if part.verdict == claim["verdict"]), parts[0]))


def _part(claim, part, dataset, found):
    return Part(
        claim=claim["id"],
        name=part["name"].removesuffix(" (exploratory)"),
        latents=tuple(part["latents"]),
        dataset=dataset,
        unit=part["unit"],
        expected_words=part["expected_words"],
        expected=(_end(part["expected"][0], -math.inf), _end(part["expected"][1], math.inf)),
        effect=_finite(found["effect"]),
        low=_finite(found["low"]),
        high=_finite(found["high"]),
        pairs=found["pairs"],
        verdict=found["verdict"],
        pair_effects=tuple(found["pair_effects"]),
        exploratory=part["exploratory"],
        sentence=found["sentence"],
        reason=found["reason"],
    )


def _finite(value):
    return None if value is None or not math.isfinite(value) else float(value)


def _end(value, default):
    """JSON has no infinity: an open end is None or a string."""
    return default if value is None else float(value)
