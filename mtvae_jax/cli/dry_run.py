"""What a run would do, without doing it: its settings, its data, its parameters, the memory and the time."""

import contextlib
import math
import time
from pathlib import Path

import jax
import numpy as np

from mtvae_jax.config import SETTINGS, has_second_stage, resolve, thesis_config
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.models import build_model, count_parameters
from mtvae_jax.objective import Objective
from mtvae_jax.process.devices import first_copy, replicate
from mtvae_jax.process.memory import enough_memory
from mtvae_jax.process.progress import duration
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.training.first_stage import headline
from mtvae_jax.training.loop import count_steps
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.second_stage import count_labels
from mtvae_jax.training.step import TrainingProgram, init_state
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.directory import examine_workdir, is_complete, read_summary
from mtvae_jax.workdir.lock import holder

# Training that is timed, once it is compiled and warm.
_SECONDS = 3.0
# Images that are encoded for timing the second stage, if a batch is not more.
_ENCODED = 512


def dry_run(config, dataset, workdir):
    """Trains a few seconds on the first images, and writes nothing but XLA's cache.

    **Arguments:** `config`: resolved; `dataset`; `workdir`: of the run.
    **Returns:** an iterator of lines of text; what takes time comes last.
    **Raises:** `UserError` where the run itself would be refused.
    """
    begun = examine_workdir(workdir, config, dataset)
    steps_done = _steps_done(workdir) if begun else 0
    yield f"work directory: {workdir}"
    yield f"  {_state(config, dataset, workdir, steps_done) if begun else 'nothing is there yet'}"
    yield ""
    yield from _settings(config, dataset.image_shape)
    yield ""
    yield f"data: {dataset.provenance}, fingerprint {dataset.fingerprint}"
    objective = Objective(build_model(config, dataset.image_shape), config, dataset.image_shape)
    shapes = jax.eval_shape(objective.init, objective.base_key)
    for line in headline(config, dataset, count_parameters(shapes["params"])):
        yield f"  {line}"
    yield ""
    yield "first stage:"
    splits = {"images": dataset.train}, {"images": dataset.validation}
    with enough_memory("training", config, "train.batch_size", "model.hidden_dims"):
        lines, variables = _stage(objective, *splits, "train", steps_done=steps_done)
    yield from lines
    if has_second_stage(config):
        yield ""
        yield "second stage:"
        with enough_memory("the second stage", config, "prior.batch_size", "prior.hidden_dim"):
            yield from list(_second_stage(config, dataset, variables))
    yield ""
    yield "not counted: evaluation on the test images, figures, and judging what is generated"


def _steps_done(workdir):
    checkpoints = Path(workdir) / "checkpoints"
    if not checkpoints.is_dir():
        return 0
    saved = Checkpoints(checkpoints, read_only=True)
    try:
        return saved.latest_step or 0
    finally:
        saved.close()


def _state(config, dataset, workdir, steps):
    """What is there, in words."""
    who = holder(workdir)
    if who is not None:
        return f"in use by {who}"
    summary = read_summary(workdir)
    if is_complete(summary, config.train):
        return f"complete: {number_of(summary['epochs'], 'epoch')}, best {summary['best_epoch']}"
    total = config.train.epochs * (len(dataset.train) // config.train.batch_size)
    return f"would go on after step {steps:,} of {total:,}" if steps else "begun, but nothing has been saved yet"


def _settings(config, image_shape):
    """A line a field; where the thesis has another value for this model and these images, with that."""
    thesis = thesis_config(config.data.name, latent=config.model.latent, method=config.model.method)
    with contextlib.suppress(UserError):  # images may be too small for them
        thesis = resolve(thesis, image_shape)
    yield "settings (*: not the thesis'):"
    for name in SETTINGS:
        value, default = config[name], thesis[name]
        mark, remark = ("*", f"  ({_text(default)})") if value != default else (" ", "")
        yield f"{mark} config.{name} = {_text(value)}{remark}"


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _second_stage(config, dataset, variables):
    counts = count_labels(config, dataset)
    prior = LearnedPrior(config, dataset.image_shape, len(counts), label_counts=counts)
    number = min(len(dataset.train), max(_ENCODED, config.prior.batch_size))
    posterior = Model(config, dataset.image_shape, variables).posterior(dataset.train[:number])
    labels = None if dataset.train_labels is None else dataset.train_labels[:number]
    rows = prior.rows(posterior, dataset.train[:number], labels)
    objective = PriorObjective.of(prior)
    counts = count_parameters(jax.eval_shape(objective.init, objective.base_key)["params"])
    yield f"  {number_of(counts['total'], 'parameter')}"
    lines, _ = _stage(objective, rows, rows, "prior", images=(len(dataset.train), len(dataset.validation)))
    yield from lines


def _stage(objective, train, validation, section, *, steps_done=0, images=None):
    """Lines, and the variables of the model.

    **Arguments:** `train`, `validation`: rows; `section`: of the config; `images`: of the whole splits
    that these rows stand for, None where they are all.
    """
    rows = [len(jax.tree.leaves(split)[0]) for split in (train, validation)]
    images, settings = images or rows, objective.settings
    steps_per_epoch = count_steps(settings.batch_size, images[0], section)
    host_state = init_state(objective, make_optimizer(settings, steps_per_epoch))
    start = time.perf_counter()
    state = replicate(host_state)
    program = TrainingProgram(objective, state, replicate(objective.knobs), train)
    compiling = time.perf_counter() - start
    state, seconds_per_step = _train(program, state)
    evaluation = _seconds_of_evaluation(objective, state.eval_variables, validation) * images[1] / rows[1]
    left = max(0, settings.epochs * steps_per_epoch - steps_done)
    epoch = steps_per_epoch * seconds_per_step + evaluation
    memory = {"state": _bytes(host_state), "images": _bytes(train), "step": program.working_bytes}
    parts = ", ".join(f"{_mib(size)} {name}" for name, size in memory.items() if size is not None)
    lines = [
        f"  memory of each device: {_mib(sum(filter(None, memory.values())))} ({parts})",
        f"  compiled in {compiling:.1f} s, then {settings.batch_size / seconds_per_step:,.0f} images/s",
        f"  an epoch of {number_of(steps_per_epoch, 'step')}: {duration(epoch)}, "
        f"{duration(evaluation)} of it evaluation",
        f"  {number_of(left, 'step')} to go: {duration(left / steps_per_epoch * epoch)}",
    ]
    return lines, first_copy(state.eval_variables)


def _train(program, state):
    """The state after some seconds of training, and the seconds of a step."""
    state = program(state, 1)
    steps, spent, taken = 1, 0.0, 0
    while spent < _SECONDS:
        start = time.perf_counter()
        state = jax.block_until_ready(program(state, steps))
        seconds = time.perf_counter() - start
        spent, taken = spent + seconds, taken + steps
        steps = max(1, math.floor(min(4 * steps, (_SECONDS - spent) / seconds * steps)))
    return state, spent / taken


def _seconds_of_evaluation(objective, variables, validation):
    evaluate = Evaluator(objective)
    batches = evaluate.place(validation)
    evaluate(variables, batches[:1])  # compiles
    start = time.perf_counter()
    evaluate(variables, batches[:1])
    return (time.perf_counter() - start) * len(batches)


def _bytes(tree):
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))


def _mib(size):
    return f"{size / 2**20:,.0f} MiB"
