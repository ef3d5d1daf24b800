"""The one rule by which claims are judged, the same for all and written down before the runs: docs/studies.md.

A part of a claim asks for a direction, or for similarity, and some for a size too. On each dataset and in each main
cell, each of these questions is

- supported, if the interval of the mean effect lies inside the region that the question names;
- refuted, if it lies outside of it altogether;
- a direction finds "no difference", if the interval lies within the margin of what counts as similar;
- undecided otherwise.

Intervals of the main cells hold at every look (`mtvae_jax.study.sequential`), and the first look that decides counts.
What is exploratory, elsewhere on the map, or over folds, whose number is fixed, is looked at once.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from mtvae_jax.errors import UserError
from mtvae_jax.study.cells import CELLS
from mtvae_jax.study.claims import AXES, CLAIMS, KL, METRICS, sides
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.rate_distortion import difference_at_equal_rate
from mtvae_jax.study.sentences import LEAST_TREND, reason, sentence
from mtvae_jax.study.sequential import FIRST_LOOK, MOST_PAIRS, pairs_for, repeated_intervals
from mtvae_jax.study.statistics import bootstrap_effect, mean_effect, paired_effects

SUPPORTED, REFUTED, NO_DIFFERENCE, UNDECIDED = "supported", "refuted", "no difference", "undecided"
DEPENDS = "depends"  # of a claim: decided in each main cell, and not alike
_FACTORS = tuple(field.name for field in dataclasses.fields(Factors))
_SEED = 20240503  # of the bootstrap: the same table has the same intervals
_LEVEL, _TWO_SIDED = 0.95, 0.9  # the latter of what is bounded on both sides: two one-sided tests at 5 %


class Place(NamedTuple):
    """**dataset**; **cell**: the name of a `cells.Cell`."""

    dataset: str
    cell: str


@dataclasses.dataclass(frozen=True)
class Question:
    """**Attributes:** `low`, `high`: the region in which the mean effect is asked to lie, either may be infinite;
    `words`; `margin`: of what is no difference, None where that is no answer; `level`: of its interval."""

    low: float
    high: float
    words: str
    margin: float | None = None
    level: float = _LEVEL


@dataclasses.dataclass(frozen=True)
class Answer:
    """**Attributes:** `words`: of the question; `verdict`; `decided_at`: the number of pairs with which it fell, None
    while it is undecided; `pairs_needed`: the number it would take as things stand, None where it is decided or where
    1000 would not be enough."""

    words: str
    verdict: str
    decided_at: int | None
    pairs_needed: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What one part of a claim has come to at one place.

    **Attributes:** `effect`, `low`, `high`: the mean over pairs and its interval, None where there is none; `level`: of
    the interval; `sequential`: whether it holds at every look; `pairs`; `p`: two-sided, of no effect, of a single look;
    `direction`, `size`: an `Answer` each, the latter None where no size is claimed; `pair_effects`: by seed, then fold;
    `pair_seeds`: the seed of each;
    `sentence`: what was measured, in words; `reason`: why there is no verdict, None where there is one.
    """

    effect: float | None
    low: float | None
    high: float | None
    level: float
    sequential: bool
    pairs: int
    p: float | None
    direction: Answer
    size: Answer | None
    pair_effects: tuple
    pair_seeds: tuple
    sentence: str
    reason: str | None

    @property
    def verdict(self):
        """On the direction alone."""
        return self.direction.verdict

    @property
    def verdict_with_size(self):
        return _combined([answer.verdict for answer in (self.direction, self.size) if answer is not None])

    @property
    def settled(self):
        """Whether more pairs would change nothing."""
        return UNDECIDED not in {answer.verdict for answer in (self.direction, self.size) if answer is not None}


@dataclasses.dataclass(frozen=True)
class PartResult:
    """**Attributes:** `part`: `claims.Part`; `findings`: {`Place`: `Finding`}; `same`: {name of a main cell: that in
    which the part's models are the same ones, itself or an earlier one}."""

    part: object
    findings: dict
    same: dict

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
            "exploratory": part.exploratory,
            "headline": part.headline,
            "findings": [
                {**place._asdict(), "main": place.cell in self.same, "verdict": found.verdict,
                 "verdict_with_size": found.verdict_with_size, **dataclasses.asdict(found)}
                for place, found in self.findings.items()
            ],
        }


@dataclasses.dataclass(frozen=True)
class ClaimResult:
    """**Attributes:** `claim`: `claims.Claim`; `parts`: a `PartResult` each; `answers`: {`Place` in a main cell:
    (verdict on the directions alone, and with the sizes)}, the two readings of words like "slightly"."""

    claim: object
    parts: tuple
    answers: dict

    @property
    def directions(self):
        """{name of a main cell: verdict over all datasets, on the directions alone}."""
        return self._over_datasets(0)

    @property
    def sizes(self):
        """The same with the sizes."""
        return self._over_datasets(1)

    def _over_datasets(self, reading):
        cells = dict.fromkeys(place.cell for place in self.answers)
        return {cell: _combined([answer[reading] for place, answer in self.answers.items() if place.cell == cell])
                for cell in cells}

    @property
    def verdict(self):
        """On the directions, over the main cells."""
        found = set(self.directions.values())
        return found.pop() if len(found) == 1 else UNDECIDED if UNDECIDED in found else DEPENDS

    def to_dict(self):
        """For JSON, all values of Python's own types and finite."""
        return {
            "id": self.claim.id,
            "section": self.claim.section,
            "sentence": self.claim.sentence,
            "verdict": self.verdict,
            "directions": self.directions,
            "sizes": self.sizes,
            "answers": [{**place._asdict(), "direction": direction, "with_size": with_size}
                        for place, (direction, with_size) in self.answers.items()],
            "exploratory": all(part.exploratory for part in self.claim.parts),
            "parts": [part.to_dict() for part in self.parts],
        }


def judge_claims(rows, claims=CLAIMS):
    """Returns every claim against the runs that are there.

    **Arguments:** `rows`: the tidy table, dicts (see `mtvae_jax.study.collect`), of which complete ones count;
    `claims`: `claims.Claim`s.
    **Returns:** a list of `ClaimResult`, one a claim.
    **Raises:** `UserError` if two rows have the same factors.
    """
    table = _Table(rows)
    return [_judge(claim, table) for claim in claims]


def questions(part):
    """Returns (direction, size) that a part of a claim asks for: a `Question` each, the latter None where there is
    none.
    """
    low, high, margin, unit = part.expected.low, part.expected.high, METRICS[part.metric].margin, part.unit
    if low < 0 < high:
        return Question(low, high, part.expected.words, level=_TWO_SIDED), None
    lower = high <= 0
    ends = (-math.inf, 0.0) if lower else (0.0, math.inf)
    direction = Question(*ends, "lower" if lower else "higher", margin)
    if (low, high) == ends:
        return direction, None
    if math.isfinite(low) and math.isfinite(high):
        most = max(-low, high)
        return direction, Question(-most, most, f"by at most {most:g} {unit}")
    return direction, Question(low, high, f"by at least {abs(high if lower else low):g} {unit}")


def _judge(claim, table):
    parts = tuple(_judge_part(claim, part, table) for part in claim.parts)
    answers = {}
    for cell in table.main_cells:
        for dataset in table.datasets or [None]:
            found = [result.findings[Place(dataset, result.same[cell.name])]
                     for result in parts if not result.part.exploratory and dataset is not None]
            answers[Place(dataset, cell.name)] = (
                _combined([finding.verdict for finding in found]),
                _combined([finding.verdict_with_size for finding in found]),
            )
    return ClaimResult(claim, parts, answers)


def _combined(verdicts):
    """Of several verdicts: the worst that there is."""
    for word in (REFUTED, NO_DIFFERENCE, UNDECIDED, SUPPORTED):
        if word in verdicts:
            return word
    return UNDECIDED


def _judge_part(claim, part, table):
    findings, same, seen = {}, {}, {}
    for cell in CELLS:
        if not (cell in table.main_cells or (not cell.main and claim.id in cell.claims and part.headline)):
            continue
        for dataset in table.datasets:
            runs = sides(part, cell, table.axes(dataset))
            # Where a cell's factors are not about this part's models, it is a cell before this one
            first = seen.setdefault((dataset, repr(runs)), cell.name)
            if cell.main:
                same[cell.name] = first
            if first == cell.name and (cell.main or table.has(runs, dataset)):
                findings[Place(dataset, cell.name)] = _find(part, table, dataset, runs, cell)
    return PartResult(part, findings, same)


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
            for name, values in AXES.items():
                value = getattr(factors, name)
                if value is not None or None in values:
                    self._axes.setdefault(factors.dataset, {}).setdefault(name, set()).add(value)
        self.main_cells = [cell for cell in CELLS if cell.main and self._used(cell)] or [CELLS[0]]

    def _used(self, cell):
        """Whether any run is one of the cell's own."""
        own = [(latent, fields | cell.common) for latent, fields in cell.of_latent.items()] or [(None, cell.common)]
        return any(
            latent in (None, factors.latent) and all(getattr(factors, name) == value for name, value in fields.items())
            for factors in self._rows for latent, fields in own
        )

    def axes(self, dataset):
        """Returns {factor: the values that the study has of it, in order, None first}."""
        return {name: sorted(values, key=lambda value: (value is not None, value))
                for name, values in self._axes.get(dataset, {}).items()}

    def replicates(self, dataset, folds):
        """Returns (seed, fold) of each, in order."""
        return sorted(self._replicates.get((dataset, folds), ()))

    def row(self, factors, dataset, seed, fold):
        """None where the study has no such run."""
        return self._rows.get(Factors(**factors, dataset=dataset, seed=seed, fold=fold))

    def has(self, runs, dataset):
        """Tells whether there is a first run of each."""
        return all(self.row(factors, dataset, 0, None) is not None for side in runs for factors in side)


def _find(part, table, dataset, runs, cell):
    """The `Finding` of a part on a dataset, of both models' `runs` in a cell."""
    effects, planned = {}, 0
    for replicate in table.replicates(dataset, part.folds):
        found = [_present([table.row(factors, dataset, *replicate) for factors in side]) for side in runs]
        if not _comparable(part, found):
            continue
        planned += 1
        if all(row["status"] == "complete" for side in found for row in side):
            effects[replicate] = _effect(part, found)
    known = {replicate: effect for replicate, effect in effects.items() if math.isfinite(effect)}
    sequential = cell.main and not part.folds and not part.exploratory
    if sequential:
        known = dict(list(known.items())[:MOST_PAIRS])
    direction, size = questions(part)
    estimate = _estimate(part, known, direction.level, sequential)
    answers = [None if asked is None else _answer(asked, part, known, sequential) for asked in (direction, size)]
    undecided = UNDECIDED in {answer.verdict for answer in answers if answer is not None}
    effect, low, high, p = (_finite(value) for value in (estimate.mean, estimate.low, estimate.high, estimate.p))
    return Finding(
        effect=effect,
        low=low,
        high=high,
        level=direction.level,
        sequential=sequential,
        pairs=len(known),
        p=p,
        direction=answers[0],
        size=answers[1],
        pair_effects=tuple(known.values()),
        pair_seeds=tuple(seed for seed, _ in known),
        sentence=sentence(part, effect, low, high, direction.level, len(known)),
        reason=reason(part, planned, len(effects), len(known), FIRST_LOOK if sequential else 2) if undecided else None,
    )


def _present(rows):
    return [row for row in rows if row is not None]


def _comparable(part, found):
    """Whether the study has what it takes; which of it is complete is another question."""
    if part.b is None:
        return len(found[0]) >= LEAST_TREND
    if part.along is not None:
        return all(len(side) >= LEAST_TREND for side in found)
    # The deepest model may be the one that it is compared with
    same = part.metric_b is None and [row["run"] for row in found[0]] == [row["run"] for row in found[1]]
    return all(found) and not same


def _effect(part, found):
    unit = "percent" if part.unit == "%" else "units"
    if part.b is None:
        x, y = (_column(found[0], name) for name in (part.along, part.metric))
        slope, _ = np.polyfit(x, y, 1) if np.isfinite(y).all() else (np.nan, np.nan)
        ends = y.mean() + slope * (np.array([x.max(), x.min()]) - x.mean())
        return float(paired_effects(*ends, unit=unit))
    if part.along is not None:
        return float(difference_at_equal_rate(*((_column(side, KL), _column(side, part.metric)) for side in found)))
    (a,), (b,) = _column(found[0], part.metric), _column(found[1], part.metric_b or part.metric)
    return float(paired_effects(a, b, unit=unit))


def _column(rows, name):
    """float [n], NaN where a model has no such figure."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def _estimate(part, effects, level, sequential):
    """The `Estimate` of the mean effect; with the interval of the last look where it is one of a sequence."""
    values = np.array(list(effects.values()), float)
    if sequential:
        low, high = repeated_intervals(values, level)
        ends = (low[-1], high[-1]) if len(low) else (np.nan, np.nan)
        return mean_effect(values)._replace(low=ends[0], high=ends[1])
    if not part.folds:
        return mean_effect(values, level=level)
    seeds, folds = (sorted({replicate[i] for replicate in effects}) for i in (0, 1))
    table = np.full((max(1, len(folds)), max(1, len(seeds))), np.nan)
    for (seed, fold), effect in effects.items():
        table[folds.index(fold), seeds.index(seed)] = effect
    return bootstrap_effect(table, level=level, rng=np.random.default_rng(_SEED))


def _answer(asked, part, effects, sequential):
    """The first verdict that a look gives."""
    values = np.array(list(effects.values()), float)
    if sequential:
        looks = zip(_looks(values, asked.level), _looks(values, _TWO_SIDED), strict=True)
    else:
        looks = [[_estimate(part, effects, level, False)[1:3] for level in (asked.level, _TWO_SIDED)]]
    for look, (interval, two_sided) in enumerate(looks):
        verdict = verdict_of(*interval, asked)
        if verdict == UNDECIDED and asked.margin is not None:
            verdict = NO_DIFFERENCE if -asked.margin < two_sided[0] and two_sided[1] < asked.margin else UNDECIDED
        if verdict != UNDECIDED:
            return Answer(asked.words, verdict, FIRST_LOOK + look if sequential else len(values), None)
    return Answer(asked.words, UNDECIDED, None, _pairs_needed(asked, values) if sequential else None)


def _looks(values, level):
    return list(zip(*repeated_intervals(values, level), strict=True))


def _pairs_needed(asked, values):
    if len(values) < 2:
        return None
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    needed = [pairs_for(mean, deviation, asked.low, asked.high, asked.level)]
    if asked.margin is not None and abs(mean) < asked.margin:
        needed.append(pairs_for(mean, deviation, -asked.margin, asked.margin, _TWO_SIDED))
    return min((pairs for pairs in needed if pairs is not None), default=None)


def verdict_of(low, high, asked):
    """**Arguments:** `low`, `high`: ends of an interval, NaN where there is none; `asked`: `Question`."""
    if asked.low < low and high < asked.high:
        return SUPPORTED
    return REFUTED if high <= asked.low or low >= asked.high else UNDECIDED


def _finite(value):
    return float(value) if math.isfinite(value) else None
