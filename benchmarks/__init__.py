"""Speed benchmarks, to be run from the repository's root: `python -m benchmarks` for all of them, the most important
first, `python -m benchmarks.NAME` for one. Each prints its tables and writes them, with all figures as JSON, to
`benchmarks/results/`.

`harness` holds the command line, the tables and the record that they share; `turns`, `training` and `processes` hold
programs that take turns, so that their times compare while the machine's speed drifts; `models` says of which models.
Every other module is one measurement and ends in its `BENCHMARK`.
"""

import os

# Both are read when JAX starts. The processes that a benchmark compares share the GPU with this one.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# XLA's client for CPUs counts FLOPs on every machine (`program_cost`), so JAX_PLATFORMS=cuda must not turn it off.
if (_platforms := os.environ.get("JAX_PLATFORMS")) and "cpu" not in _platforms.split(","):
    os.environ["JAX_PLATFORMS"] = f"{_platforms},cpu"
