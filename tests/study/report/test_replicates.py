"""Which runs are replicates of each other, and the interval of their mean."""

import numpy as np
import pytest
from scipy import stats

from mtvae_jax.study.report.replicates import along, mean_interval, replicates

GAUSSIAN = {"dataset": "fashion_mnist", "latent": "gaussian"}


def test_the_interval_of_a_mean_against_scipy():
    values = np.array([0.3, 0.5, 0.1, 0.9])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert mean_interval(values) == pytest.approx((values.mean(), *expected))
    assert mean_interval([2.0]) == (2.0, None, None)
    assert mean_interval([]) == (None, None, None)


def test_replicates_differ_in_nothing_but_the_seed(results):
    rows = replicates(results.rows, **GAUSSIAN, method="plain")
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    factors = ("fold", "depth", "beta", "kl_warmup")
    assert {tuple(row[name] for name in factors) for row in rows} == {(None, None, None, 0.0)}
    # What is not said has the thesis' own value: exact sampling, exponent 20
    assert {row["sampling"] for row in replicates(results.rows, **GAUSSIAN, method="multi_decoder")} == {"exact"}
    assert {row["exponent"] for row in replicates(results.rows, **GAUSSIAN, method="single_decoder")} == {20.0}


def test_failed_runs_are_no_replicates(results):
    rows = [{**row, "status": "failed"} if row["seed"] == 1 else row for row in results.rows]
    assert sorted(row["seed"] for row in replicates(rows, **GAUSSIAN, method="plain")) == [0, 2]


def test_the_values_of_an_axis(results):
    single = along(results.rows, "exponent", **GAUSSIAN, method="single_decoder")
    assert {value: len(rows) for value, rows in single.items()} == {20.0: 3, 40.0: 3, 60.0: 3}
    assert list(along(results.rows, "depth", **GAUSSIAN, method="plain", kl_warmup=0.0)) == [2, 4, 8]
    assert along(results.rows, "depth", **GAUSSIAN, method="multi_decoder") == {}
