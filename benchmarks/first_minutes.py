"""What to find out first where a GPU is at hand: whether the programs run, how fast, and which of XLA's ways is best.

    python -m benchmarks.first_minutes                          # eight minutes at most
    python -m benchmarks.first_minutes --minutes=3 --only=gauss_multi

Writes results/first-minutes-CARD-DATE.json. The most important comes first: training as it is, as one CUDA graph, with
sums that XLA may take in any order, and as it is once more, for the bits; then the other models, and replicas. Each is
a process of its own, because what a card cannot do may end one. Beside the speed stand the launches of the program as
it was compiled here, to be compared with `benchmarks/gpu_program/recorded.json`, and a fingerprint of the parameters
after the first steps.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import RESULTS
from benchmarks.models import Model

_GRAPHS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONDITIONAL,WHILE,DYNAMIC_SLICE_FUSION"
# Name → XLA's flags. Written out in full: XLA adds only the first of several "+NAME" to its own list.
VARIANTS = {
    "as it is": "",
    "one CUDA graph": f"--xla_gpu_enable_command_buffer={_GRAPHS},CONVOLUTION --xla_gpu_graph_min_graph_size=1",
    "loops in CUDA graphs": f"--xla_gpu_enable_command_buffer={_GRAPHS} --xla_gpu_graph_min_graph_size=1",
    "sums in any order": "--xla_gpu_exclude_nondeterministic_ops=false",
    "as it is, again": "",
}
_SMALL, _LARGE = (28, 28, 1), (64, 64, 3)
_ALL, _FIRST = tuple(VARIANTS), ("as it is", "one CUDA graph")
UNITS = (
    (Model("gaussian", "multi_decoder", _SMALL), 1, _ALL),
    (Model("vq", "multi_decoder", _SMALL), 1, _ALL),
    (Model("gaussian", "multi_decoder", _LARGE), 1, _FIRST),
    (Model("gaussian", "multi_decoder", _SMALL), 8, _FIRST),
    (Model("vq", "multi_decoder", _LARGE), 1, _FIRST),
    (Model("gaussian", "multi_decoder", _SMALL, "bfloat16"), 1, _FIRST),
    (Model("gaussian", "multi_decoder", _LARGE, "bfloat16"), 1, _FIRST),
    (Model("gaussian", "single_decoder", _SMALL, sampling="uniform"), 1, _FIRST[:1]),
)
_BITS_AFTER = 16  # steps, within the first epoch
_MOST_SECONDS = 240  # of one process


def one(unit, seconds):
    """Figures of one unit on this machine; in a process of its own."""
    import jax
    import numpy as np

    from benchmarks.gpu_program import hlo
    from benchmarks.models import load
    from benchmarks.training import Training, objective_of
    from benchmarks.turns import take_turns
    from mtvae_jax.process import environment
    from mtvae_jax.process.devices import first_copy
    from mtvae_jax.workdir.fingerprint import fingerprint

    environment.configure()
    model, replicas, _ = UNITS[unit]
    images, _ = load(model.shape)
    objectives = []
    for seed in range(replicas):
        config = model.config.copy_and_resolve_references()
        config.seed = seed
        objectives.append(objective_of(config, model.shape))
    training = Training({"images": images}, *objectives)
    training.train(_BITS_AFTER)
    state = first_copy(training.state)
    times = take_turns({"training": training}, rounds=3, seconds=seconds)["training"]
    report = hlo.report(training.compiled.as_text())
    statistics = jax.local_devices()[0].memory_stats() or {}
    return {
        "device": environment.device(),
        "versions": environment.versions(),
        "images_per_second": [training.images_per_step / time for time in times],
        "compile_seconds": training.compile_seconds,
        "peak_bytes": statistics.get("peak_bytes_in_use"),
        "loss": float(np.mean(state.metrics["loss"])) / _BITS_AFTER,
        "fingerprint": fingerprint(state.params),
        "launches": report["launches"],
        "convolutions": report["convolutions"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing more is begun; default: 8")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one of three measurements; default: 1")
    parser.add_argument("--only", default="", help="part of a model's name, such as vq_multi or 64x64x3")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder; default: benchmarks/results")
    parser.add_argument("--unit", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.unit is not None:
        print(json.dumps(one(flags.unit, flags.seconds)))
        return
    deadline, results, path = time.monotonic() + 60 * flags.minutes, {}, None
    for number, (model, replicas, variants) in enumerate(UNITS):
        name = model.full_name + (f", {replicas} replicas" if replicas > 1 else "")
        if flags.only.replace("x", "×") not in name:
            continue
        for variant in variants:
            if (left := deadline - time.monotonic()) < 0:
                return
            figures = _measured(number, VARIANTS[variant], flags.seconds, min(left + 30, _MOST_SECONDS))
            results.setdefault(name, {})[variant] = figures
            if path is None and "device" in figures:
                words = re.findall("[0-9A-Za-z_]+", f"first minutes {figures['device']}")
                path = flags.output / f"{'-'.join(words)}-{datetime.date.today().isoformat()}.json"
            speed = max(figures.get("images_per_second", [0]))
            print(f"{name}, {variant}: {figures.get('error') or f'{speed:,.0f} images/s'}", flush=True)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(results, indent=1) + "\n")
    print(path)


def _measured(unit, xla_flags, seconds, timeout):
    """The figures of a process, or {"error": its last words}."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip()
    command = [sys.executable, "-m", "benchmarks.first_minutes", f"--unit={unit}", f"--seconds={seconds}"]
    try:
        done = subprocess.run(
            command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not through after {timeout:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
