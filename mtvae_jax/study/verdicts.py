"""The one rule by which claims are judged, the same for all and written down before the runs.

A part of a claim is, on each dataset,

- supported, if the interval of the mean effect lies inside the expected one;
- refuted, if it lies outside of it altogether;
- undecided otherwise, also with fewer than two pairs of runs.

The interval has 95 %; where the expected one is bounded on both sides 90 %, which is the same as two one-sided tests
at 5 %. A claim is refuted if any of its parts is on any dataset, supported if all of them are on all datasets, and
undecided otherwise. Exploratory parts have no say in it.
"""

import dataclasses
import math

import numpy as np

from mtvae_jax.errors import UserError
from mtvae_jax.study.claims import AXES, CLAIMS, KL, METRICS, along
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.rate_distortion import difference_at_equal_rate
from mtvae_jax.study.statistics import bootstrap_effect, mean_effect, paired_effects

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
_FACTORS = tuple(field.name for field in dataclasses.fields(Factors))
_LEAST_TREND = 3  # values of a factor; a trend over two is a comparison
_SEED = 20240503  # of the bootstrap: the same table has the same intervals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What one part of a claim has come to on one dataset.

    **Attributes:** `effect`, `low`, `high`: the mean over pairs and its interval, None where there is none; `level`: of
    the interval; `pairs`; `p`: two-sided, of no effect; `verdict`; `pair_effects`: by seed, then fold; `sentence`: what
    was measured, in words; `reason`: why there is no verdict, None where there is one.
    """

    effect: float | None
    low: float | None
    high: float | None
    level: float
    pairs: int
    p: float | None
    verdict: str
    pair_effects: tuple
    sentence: str
    reason: str | None


@dataclasses.dataclass(frozen=True)
class PartResult:
    """**Attributes:** `part`: `claims.Part`; `findings`: dataset → `Finding`."""

    part: object
    findings: dict

    def to_dict(self):
        """For JSON: an open end of the expected interval is None."""
        part, expected = self.part, self.part.expected
        models = [model for model in (part.a, part.b) if model is not None]
        return {
            "name": part.name,
            "latents": list(dict.fromkeys(model.factors["latent"] for model in models)),
            "metric": part.metric,
            "unit": part.unit,
            "quote": part.quote,
            "expected": [_finite(expected.low), _finite(expected.high)],
            "expected_words": expected.words,
            "rule": explain(part),
            "exploratory": part.exploratory,
            "datasets": {dataset: dataclasses.asdict(found) for dataset, found in self.findings.items()},
        }


@dataclasses.dataclass(frozen=True)
class ClaimResult:
    """**Attributes:** `claim`: `claims.Claim`; `verdict`; `parts`: a `PartResult` each."""

    claim: object
    verdict: str
    parts: tuple

    def to_dict(self):
        """For JSON, all values of Python's own types and finite."""
        return {
            "id": self.claim.id,
            "section": self.claim.section,
            "sentence": self.claim.sentence,
            "verdict": self.verdict,
            "exploratory": all(part.exploratory for part in self.claim.parts),
            "parts": [part.to_dict() for part in self.parts],
        }


def judge_claims(rows, claims=CLAIMS):
    """Every claim against the runs that are there.

    **Arguments:** `rows`: the tidy table, dicts (see `mtvae_jax.study.collect`), of which complete ones count;
    `claims`: `claims.Claim`s.
    **Returns:** a list of `ClaimResult`, one a claim.
    **Raises:** `UserError` if two rows have the same factors.
    """
    table = _Table(rows)
    return [_judge(claim, table) for claim in claims]


def explain(part):
    """The rule for one part in words."""
    expected, unit = part.expected, part.unit
    if math.isinf(expected.low):
        region = f"below {expected.high:g} {unit}"
    elif math.isinf(expected.high):
        region = f"above {expected.low:g} {unit}"
    else:
        region = f"between {expected.low:g} and {expected.high:g} {unit}"
    metric = METRICS[part.metric]
    of_a, difference = f"the {metric} of {part.a.label}", f"difference{', in % of the latter,' if unit == '%' else ''}"
    replicate, kind = ("fold and seed", "bootstrap") if part.folds else ("seed", "t")
    pairs = f"pairs of the same {replicate}"
    if part.b is None:
        what = (f"the change of {of_a} along a straight line from the lowest to the highest {_words(part.along)} "
                f"({_LEAST_TREND} values or more)")
        pairs = f"sweeps, one a {replicate}"
    elif part.along is not None:
        what = (f"the {difference} between {of_a} and that of {part.b.label} at equal {METRICS[KL]}, averaged over the "
                f"rates that both reach as {_words(part.along)} varies")
    elif part.a == part.b:
        what = f"the {difference} between {of_a} and its {METRICS[part.metric_b]}"
        pairs = f"runs, one a {replicate}"
    else:
        what = f"the {difference} between {of_a} and that of {part.b.label}"
    return (f"Supported if the {100 * _level(expected):.0f} % {kind} interval of the mean, over {pairs}, of {what}, "
            f"lies {region.replace('-', '−')}; refuted if it lies outside of that altogether; else undecided.")


def verdict_of(low, high, expected):
    """**Arguments:** `low`, `high`: ends of an interval, NaN where there is none; `expected`: `claims.Expected`."""
    if expected.low < low and high < expected.high:
        return SUPPORTED
    return REFUTED if high <= expected.low or low >= expected.high else UNDECIDED


def _judge(claim, table):
    parts = tuple(
        PartResult(part, {dataset: _find(part, table, dataset) for dataset in table.datasets}) for part in claim.parts
    )
    verdicts = {
        found.verdict for result in parts if not result.part.exploratory for found in result.findings.values()
    }
    verdict = REFUTED if REFUTED in verdicts else SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED
    return ClaimResult(claim, verdict, parts)


class _Table:
    """The rows by their factors, and what varies in them."""

    def __init__(self, rows):
        self._rows = {}
        for row in rows:
            factors = Factors(**{name: row[name] for name in _FACTORS})
            if factors in self._rows:
                raise UserError(f"results: two rows of the run {factors} on {factors.dataset}; remove one of them")
            self._rows[factors] = row
        self.datasets = list(dict.fromkeys(factors.dataset for factors in self._rows))
        self._replicates, self._axes = {}, {}
        for factors in self._rows:
            self._replicates.setdefault((factors.dataset, factors.fold is not None), set()).add(
                (factors.seed, factors.fold)
            )
            for name in AXES:
                value = getattr(factors, name)
                if value is not None:
                    self._axes.setdefault(factors.dataset, {}).setdefault(name, set()).add(value)

    def axes(self, dataset):
        """{factor: the values that the study has of it, in order}."""
        return {name: sorted(values) for name, values in self._axes.get(dataset, {}).items()}

    def replicates(self, dataset, folds):
        """(seed, fold) of each, in order."""
        return sorted(self._replicates.get((dataset, folds), ()))

    def row(self, factors, dataset, seed, fold):
        """None where the study has no such run."""
        return self._rows.get(Factors(**factors, dataset=dataset, seed=seed, fold=fold))


def _find(part, table, dataset):
    """The `Finding` of a part on a dataset."""
    axes = table.axes(dataset)
    sides = [along(model, part.along, axes) for model in (part.a, part.b) if model is not None]
    effects, planned = {}, 0
    for replicate in table.replicates(dataset, part.folds):
        found = [_present([table.row(factors, dataset, *replicate) for factors in side]) for side in sides]
        if not _comparable(part, found):
            continue
        planned += 1
        if all(row["status"] == "complete" for side in found for row in side):
            effects[replicate] = _effect(part, found)
    known = {replicate: effect for replicate, effect in effects.items() if math.isfinite(effect)}
    level = _level(part.expected)
    estimate = _estimate(part, known, level)
    verdict = verdict_of(estimate.low, estimate.high, part.expected)
    effect, low, high, p = (_finite(value) for value in (estimate.mean, estimate.low, estimate.high, estimate.p))
    return Finding(
        effect=effect,
        low=low,
        high=high,
        level=level,
        pairs=len(known),
        p=p,
        verdict=verdict,
        pair_effects=tuple(known.values()),
        sentence=_sentence(part, effect, low, high, level, len(known)),
        reason=_reason(part, planned, len(effects), len(known)) if verdict == UNDECIDED else None,
    )


def _present(rows):
    return [row for row in rows if row is not None]


def _comparable(part, sides):
    """Whether the study has what it takes; which of it is complete is another question."""
    if part.b is None:
        return len(sides[0]) >= _LEAST_TREND
    if part.along is not None:
        return all(len(side) > 1 for side in sides)
    # The deepest model may be the one that it is compared with
    same = part.metric_b is None and [row["run"] for row in sides[0]] == [row["run"] for row in sides[1]]
    return all(sides) and not same


def _effect(part, sides):
    unit = "percent" if part.unit == "%" else "units"
    if part.b is None:
        x, y = (_column(sides[0], name) for name in (part.along, part.metric))
        slope, _ = np.polyfit(x, y, 1) if np.isfinite(y).all() else (np.nan, np.nan)
        ends = y.mean() + slope * (np.array([x.max(), x.min()]) - x.mean())
        return float(paired_effects(*ends, unit=unit))
    if part.along is not None:
        return float(difference_at_equal_rate(*((_column(side, KL), _column(side, part.metric)) for side in sides)))
    (a,), (b,) = _column(sides[0], part.metric), _column(sides[1], part.metric_b or part.metric)
    return float(paired_effects(a, b, unit=unit))


def _column(rows, name):
    """float [n], NaN where a model has no such figure."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def _estimate(part, effects, level):
    if not part.folds:
        return mean_effect(np.array(list(effects.values()), float), level=level)
    seeds, folds = (sorted({replicate[i] for replicate in effects}) for i in (0, 1))
    table = np.full((max(1, len(folds)), max(1, len(seeds))), np.nan)
    for (seed, fold), effect in effects.items():
        table[folds.index(fold), seeds.index(seed)] = effect
    return bootstrap_effect(table, level=level, rng=np.random.default_rng(_SEED))


def _level(expected):
    return 0.9 if math.isfinite(expected.low) and math.isfinite(expected.high) else 0.95


def _reason(part, planned, complete, known):
    """Why a part is undecided."""
    if planned == 0:
        return "the study has no such runs"
    if known < 2:
        what = "sweep" if part.along is not None else "pair"
        said = f"{complete} of {_number(planned, what)} {'is' if complete == 1 else 'are'} complete"
        if known < complete:
            said += f", {known} of which {'has' if known == 1 else 'have'} finite figures"
            said += " on a common range of rates" if part.along and part.b else ""
        return f"{said}; an interval takes two"
    return "the interval reaches beyond one end of what is expected, or both"


def _sentence(part, effect, low, high, level, pairs):
    """What was measured, in words: "The KL divergence of A is 4.2 % lower than that of B (95 % interval 3.1 to 5.3 %
    lower, 5 pairs)"."""
    metric = METRICS[part.metric]
    if effect is None:
        return f"Nothing has been measured of the {metric} of {part.a.label} to compare."
    places = _places(max(0.0 if low is None else (high - low) / 2, abs(effect) / 10))
    change, same = f"{_size(effect, places)} {part.unit} {_direction(effect)}", effect == low == high == 0
    if part.b is None:
        change = "stays the same" if same else f"becomes {change}"
        said = f"From the lowest to the highest {_words(part.along)}, the {metric} of {part.a.label} {change}"
    else:
        other = f"its {METRICS[part.metric_b]}" if part.a == part.b else f"that of {part.b.label}"
        start = f"At equal {METRICS[KL]}, the" if part.along else "The"
        said = f"{start} {metric} of {part.a.label} is {'as high as' if same else f'{change} than'} {other}"
    if same:
        return f"{said} in all of {_number(pairs, 'pair')}."
    if low is None:
        return f"{said} (1 pair, without an interval)."
    near, far = sorted((low, high), key=abs)
    between = f"{_size(near, places)} to {_size(far, places)} {part.unit} {_direction(far)}"
    if low * high < 0:
        between = f"{_size(low, places)} {part.unit} lower to {_size(high, places)} {part.unit} higher"
    return f"{said} ({100 * level:.0f} % interval: {between}; {_number(pairs, 'pair')})."


def _direction(value):
    return "higher" if value > 0 else "lower"


def _size(value, places):
    return f"{abs(value):,.{places}f}"


def _places(size):
    """Decimal places that show two digits of `size`."""
    return min(max(1 - math.floor(math.log10(size)), 0), 5) if size > 0 else 2


def _words(axis):
    return {"beta_scale": "β", "exponent": "exponent", "depth": "depth"}[axis]


def _number(n, what):
    return f"{n} {what}{'' if n == 1 else 's'}"


def _finite(value):
    return float(value) if math.isfinite(value) else None
