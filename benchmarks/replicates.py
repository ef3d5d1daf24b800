"""Several trainings as one program against one after another: throughput for each number of replicates.

    python -m benchmarks.replicates                              # 1, 2, 4, 8 replicates of gauss_multi
    python -m benchmarks.replicates --models=gauss_multi,vq_multi --replicates=1,2,4,8,16

Replicates differ in their seed. Every number of them gets its program, all are compiled first and then take turns,
round after round; a ratio is taken within a round, and its median over the rounds is the result: the images that a
program trains on in all, a second, over those of one training alone. What is above 1 is worth batching.
"""

import argparse
import datetime
import json
import re
import statistics
import time
from pathlib import Path

import jax
import numpy as np

from mtvae_jax import environment
from mtvae_jax.config import check, resolve, thesis_config
from mtvae_jax.data import load_dataset
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.optimizer import make_optimizer
from mtvae_jax.replication import replicate, shard
from mtvae_jax.step import init_state, make_train_steps

RESULTS = Path(__file__).parent / "results"
_SHORT = {"plain": "plain", "semi_conditional": "semi", "multi_decoder": "multi", "single_decoder": "single"}
MODELS = {f"{short}_{_SHORT[method]}": (latent, method)
          for short, latent in (("gauss", "gaussian"), ("vq", "vq")) for method in METHODS}
HEADER = "| model | replicates | images/s in all | as many as one alone | compilation, s |\n|---|---|---|---|---|"


class Program:
    """R trainings of one model in one compiled program."""

    def __init__(self, config, images, num_replicates):
        image_shape, batch_size = images.shape[1:], config.train.batch_size
        states, knobs = [], []
        for seed in range(num_replicates):
            one = config.copy_and_resolve_references()
            one.seed = seed
            objective = Objective(build_model(one, image_shape), one, image_shape)
            optimizer = make_optimizer(one.train, len(images) // batch_size)
            states.append(jax.device_get(init_state(objective, optimizer)))
            knobs.append(objective.knobs)
        state, knobs = (jax.tree.map(lambda *leaves: np.stack(leaves), *trees) for trees in (states, knobs))
        self.images_per_step = num_replicates * batch_size
        self._state, self._knobs, self._data = replicate(state), replicate(knobs), replicate({"images": images})
        start = time.perf_counter()
        steps = make_train_steps(objective, optimizer, len(images), replicates=True)
        self._steps = steps.lower(self._state, self._knobs, self._data, _count(1)).compile()
        self.compile_seconds = time.perf_counter() - start

    def images_per_second(self, seconds):
        """Trains for about so long, some steps a call."""
        start, steps, call = time.perf_counter(), 0, 1
        while (elapsed := time.perf_counter() - start) < seconds:
            call = max(1, min(2 * call, 20, round(seconds / 4 * steps / elapsed))) if steps else 1
            self._state = jax.block_until_ready(self._steps(self._state, self._knobs, self._data, _count(call)))
            steps += call
        return steps * self.images_per_step / elapsed


def _count(number):
    return shard(np.full((jax.local_device_count(),), number, np.int32))


def compare(config, images, numbers, *, rounds, seconds):
    """**Arguments:** `config`: resolved; `images`: uint8 [N, H, W, C]; `numbers`: of replicates, 1 among them.

    **Returns:** number → {"images_per_second": a list, one a round, "ratio": median, "compile_seconds"}.
    """
    programs = {number: Program(config, images, number) for number in numbers}
    speeds = {number: [] for number in numbers}
    for program in programs.values():
        program.images_per_second(seconds / 2)  # a warm-up
    for turn in range(rounds):
        for number in numbers if turn % 2 == 0 else reversed(numbers):
            speeds[number].append(programs[number].images_per_second(seconds))
    return {
        number: {
            "images_per_second": speeds[number],
            "ratio": statistics.median(a / b for a, b in zip(speeds[number], speeds[1], strict=True)),
            "compile_seconds": programs[number].compile_seconds,
        }
        for number in numbers
    }


def rows(model, results):
    """The lines of a Markdown table for `compare`'s results."""
    for number, result in results.items():
        speed = statistics.median(result["images_per_second"])
        yield f"| {model} | {number} | {speed:,.0f} | {result['ratio']:.2f} | {result['compile_seconds']:.1f} |"


def measure(models, numbers, dataset, *, rounds, seconds, say=print):
    """**Returns:** the record that is written as JSON: the figures of every model, versions, device and date."""
    record = {"date": datetime.date.today().isoformat(), "device": environment.device(),
              "versions": environment.versions(), "dataset": dataset.name, "models": {}}
    say(HEADER)
    for model in models:
        latent, method = MODELS[model]
        config = thesis_config(dataset.name, latent=latent, method=method)
        check(config)
        results = compare(resolve(config, dataset.image_shape), dataset.train, numbers, rounds=rounds, seconds=seconds)
        for row in rows(model, results):
            say(row)
        record["models"][model] = {str(number): result for number, result in results.items()}
        jax.clear_caches()
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist_sample")
    parser.add_argument("--models", default="gauss_multi")
    parser.add_argument("--replicates", default="1,2,4,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/replicates-DEVICE-DATE.json")
    flags = parser.parse_args()
    environment.configure()
    numbers = sorted({1, *map(int, flags.replicates.split(","))})
    record = measure(
        flags.models.split(","), numbers, load_dataset(flags.dataset), rounds=flags.rounds, seconds=flags.seconds
    )
    device = re.sub(r"\W+", "-", record["device"]).strip("-")
    output = flags.output or RESULTS / f"replicates-{device}-{record['date']}.json"
    output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
