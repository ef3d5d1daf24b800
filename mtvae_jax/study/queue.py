"""What a study with `seeds=auto` trains next: the pairs that decide something, most undecided parts first."""

from collections import Counter

from mtvae_jax.errors import number_of
from mtvae_jax.study.catalogue import STUDIES, axes_of, in_cells, map_runs
from mtvae_jax.study.claims import CLAIMS, runs_needed, sides
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.sequential import FIRST_LOOK, MOST_PAIRS
from mtvae_jax.study.verdicts import UNDECIDED


def next_round(protocol, results, done):
    """Returns the runs to be trained before the claims are judged again: of the first of these steps that is not done.

    1. All that has a say but sweeps, in the main cells: `first_pairs` of each.
    2. The map: the headline parts of the claims in the other cells, `map_pairs` of each, but for costly ones.
    3. The folds of the cross-validation.
    4. One more pair for each part that is undecided in a main cell, while there are fewer than `most_pairs`; the run
       that most parts wait for is the first.
    5. The costly cells of the map, and
    6. what is exploratory and no sweep, in the main cells, with as many pairs as the first look takes: both unless
       `most_pairs` keeps the rule from its end.

    **Arguments:** `protocol`; `results`: of `verdicts.judge_claims` on all that is complete; `done`: function of
    `Factors`: whether the run is complete, or has failed and is not to be tried again.
    **Returns:** a list of `Factors`; none once there is nothing left to decide.
    """
    steps = (
        _main,
        lambda protocol: _map(protocol, costly=False),
        _folds,
        lambda protocol: _undecided(protocol, results, done),
    )
    if protocol.most_pairs == MOST_PAIRS:
        steps += (lambda protocol: _map(protocol, costly=True)), _exploratory
    for step in steps:
        if left := [run for run in dict.fromkeys(step(protocol)) if not done(run)]:
            return left
    return []


def outlook(protocol, results):
    """Returns how far the rule is, in words: parts that are undecided in the main cells, and the pairs that they would
    take.
    """
    parts = _deciding(results)
    undecided = [finding for *_, finding in parts if not finding.settled]
    needed = [_pairs_needed(finding) for finding in undecided if finding.pairs >= FIRST_LOOK]
    within = [(pairs, more) for pairs, more in needed if pairs is not None and pairs <= protocol.most_pairs]
    return (
        f"{len(undecided)} of {number_of(len(parts), 'part')} undecided: {len(undecided) - len(needed)} with fewer "
        f"than {FIRST_LOOK} pairs, {len(within)} that would take {sum(more for _, more in within)} more as things "
        f"stand, {len(needed) - len(within)} that would take more than {protocol.most_pairs} each"
    )


def _pairs_needed(finding):
    """(pairs until the last question is decided, None for too many; how many more that is)."""
    open_ = [answer.pairs_needed for answer in (finding.direction, finding.size)
             if answer is not None and answer.verdict == UNDECIDED]
    pairs = None if None in open_ else max(open_)
    return pairs, 0 if pairs is None else max(1, pairs - finding.pairs)


def _deciding(results):
    """(part, place, finding) of all that has a say in the verdicts, but for folds, whose number is fixed."""
    return [
        (of_part.part, place, finding)
        for result in results
        for of_part in result.parts
        if not of_part.part.exploratory and not of_part.part.folds
        for place, finding in of_part.findings.items()
        if place.cell in of_part.same
    ]


def _main(protocol):
    parts = [part for claim in CLAIMS for part in claim.parts
             if not part.folds and not part.exploratory and part.along is None]
    return _in_main_cells(protocol, parts, min(protocol.first_pairs, protocol.most_pairs))


def _exploratory(protocol):
    parts = [part for claim in CLAIMS for part in claim.parts if part.exploratory and part.along is None]
    return _in_main_cells(protocol, parts, min(FIRST_LOOK, protocol.most_pairs))


def _in_main_cells(protocol, parts, pairs):
    return [
        Factors(dataset=dataset, seed=seed, **cell.fields(run))
        for seed in range(pairs)
        for dataset in protocol.datasets
        for cell in protocol.cells
        if cell.main
        for run in runs_needed(parts, axes_of(protocol))
    ]


def _map(protocol, *, costly):
    return [
        Factors(dataset=dataset, seed=seed, **run)
        for cell in protocol.cells
        if not cell.main and cell.costly == costly
        for seed in range(min(protocol.map_pairs, protocol.most_pairs))
        for dataset in protocol.datasets
        for run in map_runs(cell, protocol)
    ]


def _folds(protocol):
    return [
        Factors(dataset=dataset, seed=seed, fold=fold, **run)
        for seed in range(protocol.fold_seeds)
        for fold in range(protocol.folds)
        for dataset in protocol.datasets
        for run in in_cells(STUDIES["cross_validation"], protocol)
    ]


def _undecided(protocol, results, done):
    cells, wanted = {cell.name: cell for cell in protocol.cells if cell.main}, Counter()
    for part, place, finding in _deciding(results):
        if place.cell in cells and place.dataset in protocol.datasets and not finding.settled:
            runs = [run for side in sides(part, cells[place.cell], axes_of(protocol)) for run in side]
            wanted.update(_next_pair(runs, place.dataset, protocol.most_pairs, done))
    return [run for run, _ in wanted.most_common()]


def _next_pair(runs, dataset, most_pairs, done):
    """Of the first seed with which not all of the runs are done, those that are not."""
    for seed in range(most_pairs):
        if left := [run for run in {Factors(dataset=dataset, seed=seed, **run) for run in runs} if not done(run)]:
            return left
    return []
