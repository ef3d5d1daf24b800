"""When the numbers go wrong: in which step and term, on which images, and what is left for a person to look at.

Training sees about once a second that its sums are not finite, and no more. But it is a function of the state that was
saved last: repeated from there it goes wrong in the same step, and this time it is watched.
"""

import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtvae_jax.errors import UserError, number_of
from mtvae_jax.models.layers import BATCH_AXIS
from mtvae_jax.process.devices import first_copy, replicate, shard
from mtvae_jax.process.distributed import on_main
from mtvae_jax.randomness import epoch_order, evaluation_keys, step_keys
from mtvae_jax.training.evaluate import Evaluator
from mtvae_jax.workdir.directory import write_json

FILE_NAME = "failure.json"
FIGURE_NAME = "figures/failure.png"

# Steps repeated between two looks at the state; so many before the bad one, or up to twice as many, are drawn.
_STRIDE = 40
# No terms: of the encoder's outputs, for the quantisation error; and what an error comes to, infinite for none.
_MOMENTS = "output"
_BESIDE = (_MOMENTS, "psnr", "ssim", "bits_per_dim")


class _BadStep(NamedTuple):
    """**before**, **after**: host states; **course**: {step: terms}, of the steps up to it and its own."""

    before: Any
    after: Any
    course: dict


class _Images(NamedTuple):
    """Of a split. **split**: its name; **indices**: int [B], in it; **rows**: arrays [B, …]; **bad**: bool [B], those
    whose own terms are not finite."""

    split: str
    indices: np.ndarray
    rows: dict
    bad: np.ndarray


def is_finite(tree):
    """Tells whether every number in the arrays of a tree is finite; on the host."""
    leaves = map(np.asarray, jax.tree.leaves(tree))
    return all(np.isfinite(leaf).all() for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact))


def is_sound(state):
    """Tells whether a host `TrainState` is one to go on from."""
    # Without the history of balancing, where NaN stands for no value yet.
    return is_finite((state.params, state.batch_stats, state.average, state.metrics))


def not_finite(metrics):
    """Returns the names of the terms or metrics that are not finite and should be. The loss is named where nothing else
    is.
    """
    names = [name for name, value in metrics.items() if not is_finite(value)]
    names = [name for name in names if not _bare(name).startswith(_BESIDE)]
    return [name for name in names if _bare(name) != "loss"] or names


def training_failure(objective, state, advance, stop, data, directory, *, section):
    """Finds the step in which training went wrong, and leaves failure.json and a figure.

    **Arguments:** `objective`; `state`: a good one to repeat training from, host arrays; `advance`: function (host
    state, number of steps of one epoch) → host state, by the program that went wrong; `stop`: the number of steps by
    which it had; `data`: host arrays [N, …], the training split; `directory`: of the run, or of its second stage;
    `section`: of the config, for the message.
    **Returns:** the `UserError` to raise. All processes of a run call this together.
    """
    num_images, batch = len(jax.tree.leaves(data)[0]), objective.settings.batch_size
    steps_per_epoch, good = num_images // batch, int(state.step)
    found = _bad_step(advance, state, stop, steps_per_epoch)
    if found is None:
        return UserError(
            f"epoch {(stop - 1) // steps_per_epoch + 1}: training had diverged by step {stop:,}, but does not when it "
            f"is repeated from step {good:,}: this device does not compute the same twice; run the same command again"
        )
    step, terms = int(found.after.step), found.after.metrics
    order = epoch_order(jax.random.wrap_key_data(state.key), (step - 1) // steps_per_epoch, num_images)
    indices = np.asarray(order)[(step - 1) % steps_per_epoch * batch :][:batch]
    rows = jax.tree.map(lambda array: array[indices], data)
    images = _Images("training", indices, rows, _bad_in_training(objective, found.before, rows, steps_per_epoch))
    record = {
        "step": step,
        "epoch": (step - 1) // steps_per_epoch + 1,
        "good_step": good,
        "terms": _numbers(terms),
        "parameters": _bad_leaves(found.after.params),
    }
    what = _listed(terms) or "all terms are finite, but not the parameters after it"
    return _leave(record, what, images, found.course, directory, section)


def evaluation_failure(objective, variables, metrics, rows, directory, *, split, epoch, step, good, section):
    """Finds the images whose evaluation is not finite, although the state is, and leaves the same.

    **Arguments:** `variables`: for evaluation, of the end of `epoch` and `step`, host arrays; `metrics`: {"val/kl": …},
    of the split; `rows`: host arrays [N, …], that split; `split`: its name; `good`: the step of the state that is kept,
    0 for none.
    **Returns:** the `UserError` to raise. All processes of a run call this together.
    """
    bad = _bad_in_evaluation(objective, variables, rows)
    indices = np.flatnonzero(bad) if bad.any() else np.arange(len(bad))
    shown = jax.tree.map(lambda array: array[indices], rows)
    record = {"step": step, "epoch": epoch, "good_step": good, "terms": _numbers(metrics), "parameters": []}
    images = number_of(len(bad), f"{split} image")
    number = f"{np.count_nonzero(bad):,} of {images}" if bad.any() else f"the {split} images"
    what = f"{_listed(metrics)} on {number}, though all terms of training are finite"
    return _leave(record, what, _Images(split, indices, shown, bad[indices]), {}, directory, section)


@on_main
def forget(directory, step):
    """Removes what a failure has left, once the run is past its step."""
    path = Path(directory) / FILE_NAME
    try:
        failed = json.loads(path.read_text(encoding="utf-8"))["step"]
        if step < failed:
            return
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError):  # damaged: it tells nothing
        pass
    with contextlib.suppress(OSError):
        (path.parent / FIGURE_NAME).unlink(missing_ok=True)
        path.unlink()


def _bad_step(advance, state, stop, steps_per_epoch):
    """The first step after which the state is not sound, None where there is none."""
    earlier, later = state, state
    while is_sound(later):
        if later.step >= stop:
            return None
        earlier, state = state, later
        step = int(state.step)
        later = advance(state, min(_STRIDE, stop - step, steps_per_epoch - step % steps_per_epoch))
    course, last = {}, int(later.step)
    while earlier.step < last:
        # From nothing, so that the sums are those of one step.
        before = earlier.replace(metrics=jax.tree.map(np.zeros_like, earlier.metrics))
        earlier = advance(before, 1)
        course[int(earlier.step)] = earlier.metrics
        if not is_sound(earlier):
            return _BadStep(before, earlier, course)
    return None


def _bad_in_training(objective, state, rows, steps_per_epoch):
    """bool [B]: the images of a step's batch whose own terms are not finite. `state`: on the host, before the step.

    One bad image spoils what training normalises the whole batch by. Where none is finite they are judged once more as
    evaluation does, each on its own.
    """
    share = objective.settings.batch_size // jax.device_count()

    def bad(state, rows, knobs):
        key, first = jax.random.wrap_key_data(state.key), lax.axis_index(BATCH_AXIS) * share
        weights = None if state.balance is None else state.balance.weights
        knobs = objective.training_knobs(knobs, state.step / steps_per_epoch, weights)
        keys = step_keys(key, state.step, share, first)
        together, _ = objective.training_terms(state.params, state.batch_stats, rows, *keys, knobs)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        alone = objective.evaluation_terms(variables, rows, *keys, knobs)
        return lax.all_gather((_any_bad(together), _any_bad(alone)), BATCH_AXIS, axis=0, tiled=True)

    rows = jax.tree.map(lambda array: array.reshape(jax.device_count(), share, *array.shape[1:]), rows)
    bad = jax.pmap(bad, axis_name=BATCH_AXIS)
    together, alone = first_copy(bad(replicate(state), shard(rows), replicate(objective.knobs)))
    return alone if together.all() and alone.any() else together


def _bad_in_evaluation(objective, variables, rows):
    """bool [N]: the images whose own terms are not finite."""

    def bad(variables, batch, knobs):
        terms = objective.evaluation_terms(variables, batch["data"], *evaluation_keys(batch["position"]), knobs)
        return lax.all_gather(_any_bad(terms), BATCH_AXIS, tiled=True)

    bad, variables, knobs = jax.pmap(bad, axis_name=BATCH_AXIS), replicate(variables), replicate(objective.knobs)
    batches = Evaluator(objective).place(rows)
    bad = np.concatenate([first_copy(bad(variables, batch, knobs)) for batch in batches])
    return bad[: len(jax.tree.leaves(rows)[0])]


def _any_bad(terms):
    """bool [B], from terms [B, …]."""
    terms = [term for name, term in terms.items() if not name.startswith(_BESIDE)]
    return jnp.any(jnp.stack([~jnp.isfinite(term.reshape(len(term), -1)).all(axis=1) for term in terms]), axis=0)


def _leave(record, what, images, course, directory, section):
    """Writes the files; returns the error."""
    directory, good = Path(directory), record["good_step"]
    kept = f"the state of step {good:,} is kept" if good else "there is no earlier state"
    when = f"epoch {record['epoch']}, step {record['step']:,}"
    diverged = ", training has diverged" if images.split == "training" else ""
    error = (
        f"{when}: {what}{diverged}; {kept}, {directory / FILE_NAME} names the images; lower "
        f"config.{section}.learning_rate or set config.{section}.clip_norm, with another --workdir if you named one"
    )
    record = {
        "error": error,
        **record,
        "split": images.split,
        "indices": images.indices.tolist(),
        "indices_not_finite": images.indices[images.bad].tolist(),
        "figure": FIGURE_NAME,
    }
    # The reason to stop is told, be the disk as full as it may.
    with contextlib.suppress(UserError):
        write_json(directory / FILE_NAME, record)
        _draw(f"{when.capitalize()}: {what}", images, course, directory / FIGURE_NAME)
    return UserError(error)


@on_main
def _draw(title, images, course, path):
    from mtvae_jax import figures  # matplotlib takes a second that a run which goes well need not wait for

    names = _scalars(next(iter(course.values()), {}))
    curves = {name: [float(terms[name]) for terms in course.values()] for name in names}
    picture = figures.failure(
        list(course), curves, _pictures(images.rows), images.indices, images.bad, split=images.split, title=title
    )
    figures.save(picture, path)


def _pictures(rows):
    """uint8 or float [B, H, W, C]: the images, or the codes that a second stage has in their place; or None."""
    posterior = rows.get("posterior")
    if "images" in rows:
        return rows["images"]
    if posterior.ndim == 3 and np.issubdtype(posterior.dtype, np.integer):
        return posterior[..., None] / max(1, posterior.max())
    return None


def _scalars(terms):
    return {name: value for name, value in terms.items() if np.ndim(value) == 0 and not name.startswith(_MOMENTS)}


def _numbers(terms):
    """Scalars as JSON has them, what is not finite as metrics.jsonl spells it."""
    values = {name: float(value) for name, value in _scalars(terms).items()}
    return {name: value if np.isfinite(value) else str(value) for name, value in values.items()}


def _listed(terms):
    return ", ".join(f"{name} is {_worst(terms[name])}" for name in not_finite(terms))


def _worst(value):
    value = np.asarray(value)
    return float(value[~np.isfinite(value)].flat[0])


def _bad_leaves(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, leaf in leaves if not is_finite(leaf)]


def _bare(name):
    """Of "val/loss" the loss."""
    return name.rpartition("/")[2]
