"""What `seeds=auto` trains next, on studies whose runs end at once."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest

from mtvae_jax.study import catalogue, queue
from mtvae_jax.study.catalogue import axes_of
from mtvae_jax.study.claims import CLAIMS, sides
from mtvae_jax.study.factors import Factors
from mtvae_jax.study.protocols import AUTO, PROTOCOLS
from mtvae_jax.study.verdicts import judge_claims

PROTOCOL = dataclasses.replace(PROTOCOLS["small"], datasets=("digits", "clothes"), seeds=AUTO)
FEW = tuple(claim for claim in CLAIMS if claim.id in ("C1", "C5", "C11", "C12"))


@pytest.fixture(autouse=True)
def few_claims(monkeypatch):
    """Judging all of them takes a second a round."""
    for module in (queue, catalogue):
        monkeypatch.setattr(module, "CLAIMS", FEW)


class Runs:
    """Runs that are complete, with figures whose effects are `effect` per cent with noise of `noise` per cent."""

    def __init__(self, effect, noise):
        self.rows, self._effect, self._noise = {}, effect, noise

    def train(self, factors):
        rng = np.random.default_rng(len(self.rows))
        metrics = ("test/reconstruction", "test/kl", "test/vq", "test/active_units", "kl_per_unit", "fluctuation")
        level = 1.0 if factors.method == "plain" else 1.0 + self._effect / 100
        figures = {name: level + rng.normal(0, self._noise / 100) for name in metrics}
        figures["test/reconstruction"] *= (1 + 1e3 * (factors.beta or 2.5e-5)) ** 0.5  # less rate, more distortion
        figures |= {f"generation/{name}": figures["test/kl"] for name in ("frechet_distance", "precision", "recall")}
        figures |= {"test/reconstruction_conditioned": figures["test/reconstruction"] * 0.9, "conditioned_gap": 10.0,
                    "generalisation_gap": 0.0, "test/kl": figures["test/kl"] / (1 + 1e3 * (factors.beta or 2.5e-5))}
        self.rows[factors] = {**dataclasses.asdict(factors), "run": str(factors), "status": "complete", **figures}

    def next_round(self, protocol=PROTOCOL):
        return queue.next_round(protocol, judge_claims(list(self.rows.values()), FEW), self.rows.__contains__)

    def play(self, protocol=PROTOCOL, rounds=100):
        """The rounds, until nothing is left to be trained."""
        played = []
        while (runs := self.next_round(protocol)) and len(played) < rounds:
            for factors in runs:
                self.train(factors)
            played.append(runs)
        return played


def test_main_cells_come_before_the_map_the_folds_and_what_is_undecided():
    main, mapped, folds, *rest = Runs(-20.0, 0.01).play()
    assert {(run.seed, run.beta, run.merge, run.fold) for run in main} == {
        (seed, beta, None, None) for seed in range(4) for beta in (None, 2.5e-4)}
    assert [run.seed for run in main] == sorted(run.seed for run in main)
    assert {run.fold for run in mapped} == {None}
    assert {run.seed for run in mapped} == {0, 1}
    assert [run.beta for run in mapped[:3]] == [8e-5] * 3, "β before all"
    assert {run.fold for run in folds} == {0, 1, 2, 3, 4}
    together = [run for of_round in (main, mapped, folds, *rest) for run in of_round]
    assert len(together) == len(set(together)), "a run is trained once"
    assert {run.images for run in mapped} == {None}
    assert any(run.narrower == 1 for of_round in rest for run in of_round), "costly cells at the end"


def test_what_is_decided_gets_no_more_pairs():
    """All effects are beyond doubt, or 0, which is no difference."""
    played = Runs(-20.0, 0.01).play()
    assert max(run.seed for runs in played for run in runs) <= 5


def test_what_is_undecided_gets_pairs_up_to_the_most():
    runs = Runs(0.0, 30.0)
    played = runs.play(dataclasses.replace(PROTOCOL, datasets=("digits",), most_pairs=6), rounds=12)
    assert max(run.seed for of_round in played for run in of_round) == 5
    for of_round in played[3:]:
        assert len({run.seed for run in of_round if run.beta in (None, 2.5e-4)}) <= 2, "one pair more each round"
    said = queue.outlook(PROTOCOL, judge_claims(list(runs.rows.values()), FEW))
    assert re.fullmatch(r"\d+ of \d+ parts undecided: \d+ with fewer than 3 pairs, \d+ that would take \d+ more as "
                        r"things stand, \d+ that would take more than 20 each", said), said


def test_the_run_that_most_undecided_parts_wait_for_is_first():
    runs = Runs(0.0, 30.0)
    for _ in range(3):
        for factors in runs.next_round():
            runs.train(factors)
    (first, *_), results = runs.next_round(), judge_claims(list(runs.rows.values()), FEW)
    waiting = Counter()
    for result in results:
        for of_part in result.parts:
            for place, finding in of_part.findings.items():
                if finding.sequential and not finding.settled:
                    cell = next(cell for cell in PROTOCOL.cells if cell.name == place.cell)
                    of_both = [run for side in sides(of_part.part, cell, axes_of(PROTOCOL)) for run in side]
                    for seed in range(20):
                        pair = {Factors(**run, dataset=place.dataset, seed=seed) for run in of_both} - set(runs.rows)
                        if pair:
                            waiting.update(pair)
                            break
    assert waiting[first] == max(waiting.values()) > 2


def test_a_run_that_failed_is_not_asked_for_again():
    runs = Runs(-20.0, 0.01)
    failed = runs.next_round()[0]
    again = queue.next_round(PROTOCOL, judge_claims([], FEW), lambda run: run == failed)
    assert failed not in again


def test_every_part_that_has_a_say_is_measured_in_the_first_step(monkeypatch):
    monkeypatch.setattr(queue, "CLAIMS", CLAIMS)
    main = set(Runs(0, 1).next_round())
    for part in (part for claim in CLAIMS if claim.id != "C12" for part in claim.parts):
        if not part.exploratory and part.along is None:
            for side in sides(part, PROTOCOL.cells[1], axes_of(PROTOCOL)):
                assert {Factors(**run, dataset="clothes", seed=3) for run in side} <= main
