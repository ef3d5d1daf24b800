"""Numbers that go wrong: the step, term and images that are named, against an order of the images of our own."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_runs
from small_runs import ROOT

import mtvae_jax.data
import mtvae_jax.objective
import mtvae_jax.training.prior_objective
from mtvae_jax import figures
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.randomness import Purpose, image_keys
from mtvae_jax.runs.rows import row
from mtvae_jax.runs.run import read_run
from mtvae_jax.runs.tables import listing
from mtvae_jax.training import divergence
from mtvae_jax.training.clock import Clock
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import fit
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.second_stage import train_prior
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.metric_log import read_metrics

BATCH, STEPS = 16, 8  # an epoch of 8 steps leaves some images out
TRAIN = BATCH * STEPS + 9
POISON = 255  # in the first pixel, where digits are black


@pytest.fixture(scope="module")
def npz(digits, tmp_path_factory):
    """Images of 6 × 6: 137 for training, 16 for validation, 8 for the test."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    images = digits[: TRAIN + 24, 4:28:4, 4:28:4]
    np.savez(path, images=images[: TRAIN + 16], test_images=images[TRAIN + 16 :])
    return path


def load(npz):
    dataset = mtvae_jax.data.load_dataset(f"npz:{npz}", validation=16 / (TRAIN + 16))
    assert (len(dataset.train), len(dataset.validation)) == (TRAIN, 16)
    assert (dataset.train[:, 0, 0] == 0).all()
    return dataset


def tiny_config(method="plain", latent="gaussian", **overrides):
    defaults = {
        "data__validation": 16 / (TRAIN + 16),
        "train__batch_size": BATCH,
        "train__epochs": 2,
        "prior__num_layers": 1,
        "prior__epochs": 2,
    }
    return small_runs.tiny_config(latent, method, **defaults | overrides)


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """An image whose first pixel is 255 has no finite intensities."""

    def intensities(images):
        images = images.astype(jnp.float32) / 255.0
        return jnp.where(images[:, :1, :1, :1] == 1.0, jnp.nan, images)

    for module in (mtvae_jax.objective, mtvae_jax.training.prior_objective):
        monkeypatch.setattr(module, "intensities", intensities)


def poisoned(dataset, index, split="train"):
    """The same data but for the first pixel of one image: it looks the same to the run."""
    images = np.array(getattr(dataset, split))
    images[index, 0, 0] = POISON
    return dataclasses.replace(dataset, **{split: images})


def batches(key, epoch):
    """What the steps of an epoch, counted from 0, are shown: int [8, 16]."""
    key = jax.random.fold_in(jax.random.fold_in(key, 1), epoch)
    return np.asarray(jax.random.permutation(key, TRAIN))[: STEPS * BATCH].reshape(STEPS, BATCH)


def shown_only_in_the_second(key, step):
    """An image that the first epoch leaves out, and the second shows latest of these, but not before `step`."""
    first, second = batches(key, 0), batches(key, 1)
    for place in range(STEPS - 1, step - 1, -1):
        for index in second[place]:
            if index not in first:
                return int(index), place
    raise AssertionError("choose another seed")


def failure(path):
    return json.loads((Path(path) / "failure.json").read_text())


def test_one_bad_image_is_found_and_the_run_goes_on_once_it_is_good(npz, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.0)  # a step a call
    monkeypatch.setattr(divergence, "_STRIDE", 3)
    config, dataset = tiny_config(train__ema_decay=0.9), load(npz)
    index, place = shown_only_in_the_second(jax.random.key(config.seed), 2)
    step, workdir = STEPS + place + 1, tmp_path / "run"
    with pytest.raises(UserError) as caught:
        train(config, poisoned(dataset, index), workdir, stream=io.StringIO())
    message = str(caught.value)
    assert message == (
        f"epoch 2, step {step}: kl is nan, reconstruction is nan, training has diverged; the state of step 8 is kept, "
        f"{workdir / 'failure.json'} names the images; lower config.train.learning_rate or set config.train.clip_norm, "
        "with another --workdir if you named one"
    )

    told = failure(workdir)
    assert (told["error"], told["step"], told["epoch"], told["good_step"]) == (message, step, 2, 8)
    assert told["indices"] == batches(jax.random.key(config.seed), 1)[place].tolist()
    assert told["indices_not_finite"] == [index]
    assert told["split"] == "training"
    assert told["terms"] == {"loss": "nan", "reconstruction": "nan", "kl": "nan"}
    assert told["parameters"]
    assert (workdir / told["figure"]).read_bytes().startswith(b"\x89PNG")

    # What was good is still there, and nothing else.
    assert Checkpoints(workdir / "checkpoints", read_only=True).latest_step == 8
    assert [record["epoch"] for record in read_metrics(workdir)] == [1]
    shown = read_run(workdir, "run")
    assert (shown.state, row(shown)["state"]) == ("failed", "failed")
    assert "failed 1/2" in listing([row(shown)])

    # Started again, it goes on from there, and past the step.
    summary = train(config, dataset, workdir, stream=io.StringIO())
    assert summary["steps"] == 16
    assert not (workdir / "failure.json").exists()
    assert not (workdir / "figures" / "failure.png").exists()
    assert read_run(workdir, "run").state == "complete"


@pytest.mark.parametrize(
    ("config", "terms"),
    [
        (
            tiny_config("multi_decoder", conditioning__sampling="uniform", loss__balancing="softadapt",
                        loss__softadapt_every=2, loss__softadapt_window=2),
            {"reconstruction", "reconstruction_conditioned", "kl"},
        ),
        (
            tiny_config("plain", "vq", model__codebook_size=4, model__normalization="batch"),
            {"reconstruction", "codebook", "commitment"},
        ),
    ],
    ids=["softadapt", "vq, normalised over the batch"],
)  # fmt: skip
def test_whatever_is_trained(config, terms, npz, tmp_path):
    index = int(batches(jax.random.key(config.seed), 0)[6][5])
    with pytest.raises(UserError, match=r"^epoch 1, step 7: "):
        train(config, poisoned(load(npz), index), tmp_path, stream=io.StringIO())
    told = failure(tmp_path)
    assert {name for name, value in told["terms"].items() if value == "nan"} == {"loss", *terms}
    assert told["indices"] == batches(jax.random.key(config.seed), 0)[6].tolist()
    assert told["indices_not_finite"] == [index]


def test_on_two_devices():
    """The test above, and the evaluation's, in a process that has two."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    which = "softadapt or evaluation_chokes"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__, "-k", which]
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_it_stops_soon_and_without_a_saved_state_begins_anew(npz, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.0)
    config = tiny_config(train__epochs=50)
    calls = iter(range(1, 100))
    bad = poisoned(load(npz), int(batches(jax.random.key(config.seed), 0)[1][5]))
    with pytest.raises(UserError, match=r"^epoch 1, step 2: .* there is no earlier state, "):
        train(config, bad, tmp_path, stream=io.StringIO(), stop_requested=lambda: not next(calls))
    assert next(calls) == 2  # asked after the first call, and no more after the second
    assert failure(tmp_path)["good_step"] == 0
    assert read_run(tmp_path, "run").state == "failed"


def test_a_learning_rate_that_is_far_too_high(npz, tmp_path):
    """Every number counts: `loss` may well be infinite before it is not a number."""
    config = tiny_config(train__learning_rate=1e18)
    with pytest.raises(UserError, match=r"^epoch 1, step \d: .*training has diverged") as caught:
        train(config, load(npz), tmp_path, stream=io.StringIO())
    told = failure(tmp_path)
    # By hand: the same steps, one at a time.
    assert told["step"] == first_bad_step(config, load(npz).train)
    assert told["indices"] == batches(jax.random.key(config.seed), 0)[told["step"] - 1].tolist()
    assert str(caught.value) == told["error"]
    assert Checkpoints(tmp_path / "checkpoints", read_only=True).latest_step is None
    assert read_metrics(tmp_path) == []


def first_bad_step(config, images):
    objective = Objective(build_model(config, (6, 6, 1), axis_name=None), config, (6, 6, 1))
    key = jax.random.key(config.seed)
    variables = objective.init(jax.random.fold_in(key, Purpose.INIT))
    params, stats = variables["params"], variables["batch_stats"]
    optimizer = optax.adamw(config.train.learning_rate, weight_decay=config.train.weight_decay)
    state = optimizer.init(params)
    gradient = jax.jit(jax.grad(objective.training_loss, has_aux=True))
    for step, rows in enumerate(batches(key, 0)):
        keys = [
            image_keys(jax.random.fold_in(jax.random.fold_in(key, purpose), step), BATCH)
            for purpose in (Purpose.LATENT, Purpose.MASK)
        ]
        gradients, (stats, terms) = gradient(params, stats, {"images": images[rows]}, *keys)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, terms))):
            return step + 1
    return None


@pytest.mark.parametrize("stopped", [False, True], ids=["at the end of the epoch", "when it is to save"])
def test_a_gradient_that_is_not_finite_although_the_loss_is(stopped, npz, tmp_path, monkeypatch):
    """In the last step before the state would be saved, so that no later loss tells of it."""
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.0)
    config, dataset = tiny_config(), load(npz)
    place = 4 if stopped else STEPS - 1
    index = int(batches(jax.random.key(config.seed), 0)[place][3])

    @jax.custom_vjp
    def poison(x, bad):
        return x

    poison.defvjp(lambda x, bad: (x, bad), lambda bad, g: (jnp.where(bad, jnp.nan, g), None))
    original = mtvae_jax.objective.Objective.training_terms

    def training_terms(self, params, *arguments):
        bad = jnp.any(arguments[1]["images"][:, 0, 0, 0] == POISON)
        return original(self, jax.tree.map(lambda leaf: poison(leaf, bad), params), *arguments)

    monkeypatch.setattr(mtvae_jax.objective.Objective, "training_terms", training_terms)
    monkeypatch.setattr(mtvae_jax.objective, "intensities", lambda images: images.astype(jnp.float32) / 255.0)
    calls = iter(range(1, 100))
    with pytest.raises(UserError, match=rf"step {place + 1}: all terms are finite, but not the parameters after it"):
        train(
            config,
            poisoned(dataset, index),
            tmp_path,
            stream=io.StringIO(),
            stop_requested=lambda: stopped and next(calls) == place + 1,
        )
    told = failure(tmp_path)
    assert told["indices"] == batches(jax.random.key(config.seed), 0)[place].tolist()
    assert told["indices_not_finite"] == []
    assert "encoder" in " ".join(told["parameters"])
    assert Checkpoints(tmp_path / "checkpoints", read_only=True).latest_step is None


def test_images_that_only_evaluation_chokes_on(npz, tmp_path):
    dataset = load(npz)
    for index in (3, 11):
        dataset = poisoned(dataset, index, "validation")
    with pytest.raises(UserError, match=r"^epoch 1, step 8: .*val/kl is nan.* on 2 of 16 validation images, though "):
        train(tiny_config(), dataset, tmp_path, stream=io.StringIO())
    told = failure(tmp_path)
    assert (told["split"], told["indices"], told["indices_not_finite"]) == ("validation", [3, 11], [3, 11])
    assert told["terms"]["val/loss"] == "nan"
    assert np.isfinite(told["terms"]["train/loss"])
    assert (tmp_path / told["figure"]).exists()


def test_images_that_only_the_test_chokes_on(npz, tmp_path):
    dataset = load(npz)
    for _ in range(2):  # the same command says the same, and trains nothing again
        with pytest.raises(UserError, match=r"^epoch 2, step 16: .*test/kl is nan.* on 1 of 8 test images, though "):
            train(tiny_config(train__epochs=2), poisoned(dataset, 5, "test"), tmp_path, stream=io.StringIO())
    told = failure(tmp_path)
    assert (told["split"], told["indices"], told["good_step"]) == ("test", [5], 16)
    assert not (tmp_path / "summary.json").exists()
    assert train(tiny_config(train__epochs=2), dataset, tmp_path, stream=io.StringIO())["test/kl"] > 0
    assert not (tmp_path / "failure.json").exists()


def test_the_second_stage_is_watched_too(npz, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.models.priors._CONTEXT_RESIDUAL_LAYERS", 0)
    config = tiny_config("multi_decoder", "vq", conditioning__sampling="uniform", conditioning__num_pixels=36,
                         model__codebook_size=4, prior__unconditional=0.0)  # fmt: skip
    key = jax.random.fold_in(jax.random.key(config.seed), 5)
    images = np.array(load(npz).train)
    index = int(batches(key, 0)[3][9])
    images[index, 0, 0] = POISON
    data = {"posterior": np.random.default_rng(0).integers(0, 4, (TRAIN, 3, 3), np.int32), "images": images}
    objective = PriorObjective(config, (6, 6, 1), 0)
    with pytest.raises(UserError, match=r"^epoch 1, step 4: loss is nan, .*config.prior.learning_rate"):
        fit(objective, data, data, tmp_path, section="prior", clock=Clock(), stream=io.StringIO())
    told = failure(tmp_path)
    assert told["indices"] == batches(key, 0)[3].tolist()
    assert told["indices_not_finite"] == [index]  # although the batch is normalised together


def test_the_test_of_the_second_stage_is_watched_too(npz, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.models.priors._CONTEXT_RESIDUAL_LAYERS", 0)
    config = tiny_config("multi_decoder", "vq", conditioning__sampling="uniform", conditioning__num_pixels=36,
                         model__codebook_size=4, prior__unconditional=0.0, train__epochs=1)  # fmt: skip
    dataset = load(npz)
    train(config, dataset, tmp_path, stream=io.StringIO())
    with pytest.raises(UserError, match=r"test/nats_conditioned is nan.* on 1 of 8 test images"):
        train_prior(config, poisoned(dataset, 2, "test"), tmp_path, stream=io.StringIO())
    (told,) = tmp_path.glob("prior*/failure.json")
    assert json.loads(told.read_text())["indices"] == [2]
    train_prior(config, dataset, tmp_path, stream=io.StringIO())
    assert not told.exists()


def test_what_does_not_happen_again_is_said_to_be_the_devices():
    state = types.SimpleNamespace(params=np.ones(2), batch_stats={}, average=None, metrics={}, step=8)
    objective = types.SimpleNamespace(settings=types.SimpleNamespace(batch_size=BATCH))

    def advance(state, num_steps):
        return types.SimpleNamespace(**{**vars(state), "step": state.step + num_steps})

    error = divergence.training_failure(
        objective, state, advance, 13, {"images": np.zeros((TRAIN, 1))}, "run", section="train"
    )
    assert str(error).startswith("epoch 2: training had diverged by step 13, but does not when it is repeated from ")


def test_only_a_run_that_is_past_the_step_forgets_it(tmp_path):
    (tmp_path / "figures").mkdir()
    path, figure = tmp_path / "failure.json", tmp_path / "figures" / "failure.png"
    for told, steps, gone in [({"step": 12}, 11, False), ({"step": 12}, 12, True), ("{", 1, True), ([], 1, True)]:
        path.write_text(told if isinstance(told, str) else json.dumps(told))
        figure.touch()
        divergence.forget(tmp_path, steps)
        assert (path.exists(), figure.exists()) == (not gone, not gone)
    divergence.forget(tmp_path, 5)


def test_metrics_that_may_be_infinite_and_those_that_may_not():
    assert divergence.not_finite({"val/psnr": np.inf, "val/bits_per_dim_conditioned": -np.inf, "val/kl": 1.0}) == []
    assert divergence.not_finite({"val/loss": np.nan}) == ["val/loss"]
    assert divergence.not_finite({"loss": np.nan, "kl": -np.inf, "usage": np.array([0, np.nan])}) == ["kl", "usage"]


# ------------------------------------------------------------------------------------------------------------- drawing


def draw(num_images=40, bad=(), num_steps=50):
    images = np.random.default_rng(0).random((num_images, 6, 6, 1))
    marked = np.zeros(num_images, bool)
    marked[list(bad)] = True
    curves = {"kl": np.ones(num_steps), "loss": np.arange(1.0, num_steps + 1)}
    if num_steps:
        curves["loss"][-1] = np.nan
    return figures.failure(
        range(1, num_steps + 1), curves, images, np.arange(num_images) + 1000, marked, split="training", title="T"
    )


def test_the_figure_shows_each_term_and_frames_the_bad_images():
    figure = draw(bad=[3, 20])
    loss, kl, images = figure.axes
    assert [axes.get_label() for axes in figure.axes] == ["loss", "kl", "images"]
    assert np.isnan(loss.lines[0].get_ydata()[-1])
    assert [text.get_text() for text in loss.texts] == ["nan"]
    assert not kl.texts
    frames = [patch.get_xy() for patch in images.patches]
    assert frames == [(3 * 7 - 0.5, -0.5), (4 * 7 - 0.5, 7 - 0.5)]  # 16 in a row, a pixel apart
    texts = [text.get_text() for text in figure.texts]
    assert "T" in texts
    assert any("2 framed" in text and "1,003" in text for text in texts)
    assert {"0", "16", "32"} <= set(texts)


def test_of_many_images_those_around_the_first_bad_one_are_shown():
    figure = draw(300, bad=[140])
    texts = [text.get_text() for text in figure.texts]
    assert "128" in texts
    assert "0" not in texts
    assert figure.axes[-1].patches[0].get_xy() == (12 * 7 - 0.5, -0.5)


def test_frames_of_all_would_say_nothing():
    assert not draw(bad=range(40)).axes[-1].patches
    assert [axes.get_label() for axes in draw(num_steps=0).axes] == ["images"]
