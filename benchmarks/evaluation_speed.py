"""Evaluation against training, in images a second: what a validation an epoch costs.

    python -m benchmarks.evaluation_speed                       # gauss_multi and vq_multi, 28×28×1
    python -m benchmarks.evaluation_speed --methods=plain,single_decoder --shapes=64x64x3

Evaluation computes every metric of a run on every image, SSIM included; both take turns.
"""

import statistics

import numpy as np

from benchmarks.harness import Benchmark, Table, command, spread
from benchmarks.training import Training, objective_of
from benchmarks.turns import Program, ratio, take_turns
from mtvae_jax.process.devices import first_copy, replicate
from mtvae_jax.training.evaluate import Evaluator

_IMAGES = 1000


def measure(config, images, *, rounds, seconds):
    """Measures both. **Returns:** {"training", "evaluation"} → images a second, a list, one a round."""
    objective = objective_of(config, images.shape[1:])
    training, evaluate = Training({"images": images}, objective), Evaluator(objective)
    batches = evaluate.place({"images": np.resize(images, (_IMAGES, *images.shape[1:]))})
    variables = replicate(first_copy(training.state.eval_variables))  # a copy: training gives its own away

    def evaluations(num):
        for _ in range(num):
            evaluate(variables, batches)

    times = take_turns({"training": training, "evaluation": Program(evaluations)}, rounds=rounds, seconds=seconds)
    images_a_time = {"training": training.images_per_step, "evaluation": _IMAGES}
    return {name: [images_a_time[name] / time for time in times[name]] for name in times}


def rows(name, figures):
    speeds = (f"{statistics.median(figures[what]):,.0f}" for what in ("training", "evaluation"))
    yield name, *speeds, spread(ratio(figures["evaluation"], figures["training"]), ".2f")


COLUMNS = ("model", "training, images/s", "evaluation, images/s", "as fast as training")
BENCHMARK = Benchmark("evaluation", measure, (Table("Evaluation", COLUMNS, rows),), seconds=1.0)

if __name__ == "__main__":
    command(__doc__, BENCHMARK)
