"""Every measurement of a model measures the package as it is now, in this process, on a model that takes seconds."""

import pytest

from benchmarks import ceiling, evaluation_speed, parts, prior_speed, replicates


@pytest.mark.parametrize(
    ("module", "latent", "options", "expected"),
    [
        (evaluation_speed, "gaussian", {}, 1),
        (prior_speed, "vq", {}, 1),
        (replicates, "gaussian", {"replicates": "2"}, 2),
        (parts, "gaussian", {}, 1 + 4),
    ],
)
def test_measures(module, latent, options, expected, make_run, digits, monkeypatch):
    monkeypatch.setattr(ceiling, "_SIDES", {"cpu": (64,)})
    monkeypatch.setattr(ceiling, "_TRIAD_BYTES", {"cpu": 2**16})
    config = make_run("plain", latent)
    figures = module.measure(config, digits[:64], rounds=1, seconds=0.001, **options)
    lines = [line for table in module.BENCHMARK.tables for line in table.lines("the model", figures)]
    assert len(lines) == expected
