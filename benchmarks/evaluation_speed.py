"""Evaluation against training, in images a second: what a validation an epoch costs.

    python -m benchmarks.evaluation_speed                       # gauss_multi and vq_multi, 28×28×1
    python -m benchmarks.evaluation_speed --methods=plain,single_decoder --shapes=64x64x3

Evaluation computes every metric of a run on every image, SSIM included; both take turns.
"""

import statistics

import numpy as np

from benchmarks.by_model import print_table
from benchmarks.training import Training, objective_of
from benchmarks.turns import Program, ratio, take_turns
from mtvae_jax.evaluate import Evaluator
from mtvae_jax.replication import first_replica, replicate

_IMAGES = 1000


def measure(config, images, *, rounds=5, seconds=1.0):
    """**Arguments:** `config`: resolved; `images`: uint8 [N, H, W, C].

    **Returns:** {"training", "evaluation"} → images a second, a list, one a round.
    """
    objective = objective_of(config, images.shape[1:])
    training, evaluate = Training(objective, {"images": images}), Evaluator(objective)
    batches = evaluate.place({"images": np.resize(images, (_IMAGES, *images.shape[1:]))})
    variables = replicate(first_replica(training.state.eval_variables))  # a copy: training gives its own away

    def evaluations(num):
        for _ in range(num):
            evaluate(variables, batches)

    times = take_turns({"training": training, "evaluation": Program(evaluations)}, rounds=rounds, seconds=seconds)
    return {
        "training": [training.batch_size / time for time in times["training"]],
        "evaluation": [_IMAGES / time for time in times["evaluation"]],
    }


HEADER = "| model | images | training, images/s | evaluation, images/s | as fast as training |\n|---|---|---|---|---|"


def rows(model, shape, result):
    """The line of a Markdown table for `measure`'s figures. Ratios: median (least – greatest)."""
    size = "×".join(map(str, shape))
    training, evaluation = (statistics.median(result[name]) for name in ("training", "evaluation"))
    times = ratio(result["evaluation"], result["training"])
    text = f"{times['median']:.2f} ({times['least']:.2f} – {times['greatest']:.2f})"
    yield f"| {model} | {size} | {training:,.0f} | {evaluation:,.0f} | {text} |"


if __name__ == "__main__":
    print_table(__doc__, measure, HEADER, rows, methods="multi_decoder", seconds=1.0)
