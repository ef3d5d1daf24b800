"""A run from end to end: every method, every file, resuming, and what a finished or foreign directory answers."""

import dataclasses
import io
import json
import math
import shutil

import jax
import numpy as np
import pytest
from small_runs import tiny_config

import mtvae_jax
import mtvae_jax.data
from mtvae_jax.conditioning import SAMPLINGS
from mtvae_jax.config import has_second_stage
from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import Stopped
from mtvae_jax.training.second_stage import train_prior
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.fingerprint import fingerprint
from mtvae_jax.workdir.metric_log import read_metrics

ALWAYS = {
    "gaussian": {"loss", "kl", "active_units"},
    "vq": {"loss", "vq", "quantisation_error", "perplexity", "codes_used"},
    "fsq": {"loss", "perplexity", "codes_used"},
}
UNCONDITIONED = {"reconstruction", "bits_per_dim", "psnr", "ssim"}
CONDITIONED = {f"{name}_conditioned" for name in UNCONDITIONED}


def params(workdir, which="latest"):
    return jax.tree.leaves(mtvae_jax.load(workdir, which).variables)


def assert_same_bits(first, second):
    for a, b in zip(params(first), params(second), strict=True):
        np.testing.assert_array_equal(a, b)
    timeless = [
        [{name: value for name, value in record.items() if name != "images_per_second"} for record in read_metrics(d)]
        for d in (first, second)
    ]
    assert timeless[0] == timeless[1]


@pytest.fixture(scope="module")
def plain(make_run, dataset, tmp_path_factory):
    """A model of one epoch, some of whose dimensions say more than others: (config, work directory, summary)."""
    config, workdir = make_run("plain", train__epochs=1, loss__beta=0.02), tmp_path_factory.mktemp("plain") / "run"
    return config, workdir, train(config, dataset, workdir, stream=io.StringIO())


@pytest.mark.parametrize(
    ("latent", "method", "sampling"),
    [("gaussian", "single_decoder", "gaussian"), ("vq", "multi_decoder", "uniform")],
)
def test_from_start_to_summary(latent, method, sampling, make_run, dataset, tmp_path):
    config = make_run(method, latent, conditioning__sampling=sampling, train__figures_every=2)
    out = io.StringIO()
    summary = train(config, dataset, tmp_path / "run", stream=out)
    wanted = ALWAYS[latent] | (UNCONDITIONED if METHODS[method].unconditioned else set())
    wanted |= CONDITIONED if METHODS[method].conditional_decoder else set()
    for split in ("val", "test"):
        assert {name.split("/")[1] for name in summary if name.startswith(f"{split}/")} == wanted
    records = read_metrics(tmp_path / "run")
    assert [record["epoch"] for record in records] == [1, 2]
    for split in ("train", "val"):
        assert records[1][f"{split}/loss"] < records[0][f"{split}/loss"]
    best = records[summary["best_epoch"] - 1]
    assert best["val/loss"] == min(record["val/loss"] for record in records) == summary["val/loss"]
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"]["fingerprint"] == dataset.fingerprint
    assert summary["parameters"]["total"] > 0
    assert summary["parameters_sha256"] == fingerprint(mtvae_jax.load(tmp_path / "run").variables)
    assert summary["steps"] == 2 * (len(dataset.train) // 32)
    assert summary["train_images"] == summary["steps"] * 32
    assert out.getvalue().count("\nepoch ") == 2
    pictures = {"reconstructions", "loss_curves", "sampling_types"}
    pictures |= {"samples"} if latent == "gaussian" else set()  # codes have no prior yet
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == pictures
    assert list((tmp_path / "run" / "tensorboard").iterdir())

    # The loaded model is the one that was judged.
    model = mtvae_jax.load(tmp_path / "run")
    assert model.encode(dataset.test).shape == (len(dataset.test), *([] if latent == "gaussian" else [7, 7]), 4)
    assert model.reconstruct(dataset.test).shape == dataset.test.shape
    everything = model.reconstruct(dataset.test, np.ones((28, 28, 1), bool))

    # A single decoder is judged at fixed numbers of pixels.
    table = summary.get("test_reconstruction_by_pixels")
    if method != "single_decoder":
        assert table is None
        return
    assert list(table) == ["0", "5", "10", "20", "49", "100", "200", "400", "784"]
    assert table["0"] == pytest.approx(summary["test/reconstruction"], rel=1e-5)  # an empty mask, the same z
    # All pixels revealed: no matter how masks are drawn, so by hand from the loaded model, whose z is at its mean.
    assert table["784"] == pytest.approx(np.mean((everything - dataset.test / 255.0) ** 2), rel=0.05)
    assert len(set(table.values())) == len(table)


# Every latent with every method, and each sampling type with some: a latent knows nothing of masks.
PAIRS = {
    "plain": ["exact", "exact", "exact"],  # no pixels are revealed
    "semi_conditional": ["exact", "mixture", "gaussian"],
    "multi_decoder": ["box", "exact", "uniform"],
    "single_decoder": ["uniform", "mixture", "box"],
}
ALL = [
    (latent, method, sampling)
    for method in METHODS
    for latent, sampling in zip(LATENTS, PAIRS[method], strict=True)
]


def test_all_kinds_are_tried():
    assert {sampling for *_, sampling in ALL} == set(SAMPLINGS)


@pytest.mark.parametrize(("latent", "method", "sampling"), ALL)
def test_every_model_and_sampling_type_takes_a_few_steps(latent, method, sampling, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.models.priors._CONTEXT_RESIDUAL_LAYERS", 0)
    monkeypatch.setattr("mtvae_jax.training.evaluate._COUNTS", ())
    overrides = {"model__codebook_ema": 0.9, "prior__num_layers": 1, "prior__learning_rate": 1e-3}
    config = tiny_config(latent, method, conditioning__sampling=sampling, **overrides)
    summary = train(config, tiny, tmp_path / "run", stream=io.StringIO())
    wanted = ALWAYS[latent] | (UNCONDITIONED if METHODS[method].unconditioned else set())
    wanted |= CONDITIONED if METHODS[method].conditional_decoder else set()
    tested = {name.removeprefix("test/"): value for name, value in summary.items() if name.startswith("test/")}
    assert set(tested) == wanted
    assert np.isfinite(list(tested.values())).all()
    assert summary["steps"] == 3
    assert summary["images_per_second"] > 0

    assert has_second_stage(config) == ((latent, method) != ("gaussian", "plain"))
    if not has_second_stage(config):
        return
    summary = train_prior(config, tiny, tmp_path / "run", stream=io.StringIO())
    codes = latent != "gaussian"
    learned = {"nats"} if codes else set()
    learned |= {"nats_conditioned"} if METHODS[method].conditional_decoder else set()
    assert {name for name in ("nats", "nats_conditioned") if f"test/{name}" in summary} == learned
    assert np.isfinite([value for name, value in summary.items() if name.startswith("test/")]).all()
    if codes:
        num_codes = {"vq": 16, "fsq": math.prod(config.model.levels)}[latent]
        assert summary["test/loss"] == pytest.approx(np.log(num_codes), rel=0.15)  # as good as uniform, so early
    prior = mtvae_jax.load(tmp_path / "run").prior
    assert (prior.knows_nothing_revealed, prior.sees_pixels) == ("nats" in learned, "nats_conditioned" in learned)


def test_what_is_odd_about_the_data_is_said_at_the_start_and_kept(tiny, digits, tmp_path):
    np.savez(tmp_path / "odd.npz", images=digits[:60, 4:28:4, 4:28:4], ids=np.arange(60))
    odd = mtvae_jax.data.load_dataset(f"npz:{tmp_path / 'odd.npz'}", validation=0)
    out = io.StringIO()
    summary = train(tiny_config("gaussian", "plain"), odd, tmp_path / "run", stream=out)
    unused, chosen = odd.remarks
    assert unused == "the array ids of odd.npz is not used"
    assert chosen.startswith("the validation images are the test images: the best epoch is chosen on them")
    assert f"WARNING: {unused}\nWARNING: {chosen}\n" in out.getvalue()
    assert summary["warnings"][:2] == [unused, chosen]
    assert summary["data"]["remarks"] == [unused, chosen]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["remarks"] == [unused, chosen]
    assert tiny.remarks == ()


def test_the_summary_says_how_the_best_model_does_on_training_images(make_run, dataset, tmp_path):
    same = dataclasses.replace(dataset, validation=dataset.train[: len(dataset.validation)])
    summary = train(make_run("single_decoder", train__epochs=1), same, tmp_path / "run", stream=io.StringIO())
    for name in ("loss", "reconstruction", "kl", "reconstruction_conditioned"):
        assert summary[f"train/{name}"] == pytest.approx(summary[f"val/{name}"], rel=1e-6)


def test_evaluation_covers_every_image_once(plain, dataset):
    # The mean over all test images by hand, of the term that knows no noise.
    config, workdir, summary = plain
    model = mtvae_jax.load(workdir, "latest")
    module = build_model(config, dataset.image_shape)
    encode = jax.jit(lambda variables, x: module.apply(variables, x, method="encode").terms["kl"][0])
    kl = [float(encode(model.variables, (image[None] / 255.0).astype(np.float32))) for image in dataset.test]
    assert summary["test/kl"] == pytest.approx(np.mean(kl), rel=1e-4)


def test_stopped_in_mid_epoch_and_started_again_gives_the_same_bits(make_run, dataset, tmp_path, monkeypatch):
    balancing = {"balancing": "softadapt", "softadapt_every": 3, "softadapt_window": 2, "kl_warmup_epochs": 2.5}
    balancing = {f"loss__{name}": value for name, value in balancing.items()}
    config = make_run(
        "multi_decoder", conditioning__sampling="uniform", train__ema_decay=0.9, train__epochs=3, **balancing
    )
    train(config, dataset, tmp_path / "unbroken", stream=io.StringIO())
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.0)  # a step a call: stops fall within epochs
    stops = 0
    while True:
        calls = iter(range(100))
        try:
            train(config, dataset, tmp_path / "broken", stop_requested=lambda: next(calls) == 6, stream=io.StringIO())  # noqa: B023
            break
        except Stopped:
            stops += 1
            step = Checkpoints(tmp_path / "broken" / "checkpoints", read_only=True).latest_step
            assert stops > 1 or step % (len(dataset.train) // 32) != 0
    assert stops >= 2
    assert_same_bits(tmp_path / "unbroken", tmp_path / "broken")
    for record in read_metrics(tmp_path / "unbroken"):
        weights = [value for name, value in record.items() if name.startswith("train/weight_")]
        assert sum(weights) == pytest.approx(1, rel=1e-5)
        # What epochs are compared by is weighed as the user says.
        terms = {name: record[f"val/{name}"] for name in ("reconstruction", "reconstruction_conditioned", "kl")}
        expected = terms["reconstruction"] + terms["reconstruction_conditioned"] + config.loss.beta * terms["kl"]
        assert record["val/loss"] == pytest.approx(expected, rel=1e-4)
    assert len(set(weights)) == 3


def test_active_units_and_kl_per_dimension_are_those_of_the_test_split(plain, dataset):
    _, workdir, summary = plain
    posterior = np.float64(mtvae_jax.load(workdir).posterior(dataset.test))
    mean, log_variance = posterior[:, 0], posterior[:, 1]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(0)
    np.testing.assert_allclose(summary["test_kl_per_dimension"], sorted(kl)[::-1], rtol=1e-3)
    assert sum(summary["test_kl_per_dimension"]) == pytest.approx(summary["test/kl"], rel=1e-4)
    assert summary["test/active_units"] == (mean.var(0) > 0.01).sum()


def test_a_complete_run_answers_at_once_and_a_longer_one_goes_on(plain, make_run, dataset, tmp_path):
    config, workdir, first = plain
    shutil.copytree(workdir, tmp_path / "run")
    out = io.StringIO()
    assert train(config, dataset, tmp_path / "run", stream=out) == first
    assert out.getvalue() == ""
    longer = make_run("plain", train__epochs=2, loss__beta=0.02)
    train(longer, dataset, tmp_path / "run", stream=io.StringIO())
    train(longer, dataset, tmp_path / "unbroken", stream=io.StringIO())
    assert_same_bits(tmp_path / "run", tmp_path / "unbroken")
    with pytest.raises(UserError, match=r"config.train.epochs = 2, not 1; more have been trained; --finish"):
        train(config, dataset, tmp_path / "run")


def until(steps):
    """A request to stop that comes after so many steps; with a step a call it is asked about after each."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) == steps


@pytest.fixture
def a_step_a_call(monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.0)


# Steps too small for float32: no epoch is better than the first, so that two more are trained of nine.
IMPATIENT = {"epochs": 9, "patience": 2, "learning_rate": 1e-12, "weight_decay": 0.0}


def assert_ended_by_patience(summary, said):
    assert "ends after epoch 3 of 9: no better one in the last 2\n" in said.getvalue()
    assert (summary["epochs"], summary["best_epoch"], summary["steps"]) == (3, 1, 9)
    assert summary["stopped_early"] == {"by": "patience", "epochs": 9, "patience": 2}


@pytest.mark.usefixtures("a_step_a_call")
def test_out_of_patience_a_run_ends_be_it_interrupted_and_is_complete(tiny, tmp_path):
    config = tiny_config("gaussian", "plain", **{f"train__{name}": value for name, value in IMPATIENT.items()})
    for steps in (4, 5):  # within epoch 2, and at the very end
        with pytest.raises(Stopped):
            train(config, tiny, tmp_path / "broken", stop_requested=until(steps), stream=io.StringIO())
    hashes = set()
    for workdir in (tmp_path / "broken", tmp_path / "unbroken"):
        out = io.StringIO()
        summary = train(config, tiny, workdir, stream=out)
        assert_ended_by_patience(summary, out)
        assert train(config, tiny, workdir) == summary
        hashes.add(summary["parameters_sha256"])
    assert len(hashes) == 1


def test_out_of_patience_a_second_stage_ends_and_is_complete(tiny, tmp_path):
    config = tiny_config(prior__dropout=0.0, **{f"prior__{name}": value for name, value in IMPATIENT.items()})
    train(config, tiny, tmp_path, stream=io.StringIO())
    out = io.StringIO()
    summary = train_prior(config, tiny, tmp_path, stream=out)
    assert_ended_by_patience(summary, out)
    assert train_prior(config, tiny, tmp_path) == summary


@pytest.mark.usefixtures("a_step_a_call")
def test_told_to_finish_a_run_ends_with_the_epochs_that_it_has(tiny, tmp_path):
    def config(epochs):
        return tiny_config("gaussian", "plain", train__epochs=epochs)

    with pytest.raises(UserError, match=r"^--finish: in .* no epoch of a run has ended yet"):
        train(config(9), tiny, tmp_path / "run", finish=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Stopped):
        train(config(9), tiny, tmp_path / "run", stop_requested=until(8), stream=io.StringIO())
    out = io.StringIO()
    summary = train(config(9), tiny, tmp_path / "run", finish=True, stream=out)
    assert "ends after epoch 2 of 9: as asked\n" in out.getvalue()
    assert (summary["epochs"], summary["steps"]) == (2, 6)
    assert summary["stopped_early"] == {"by": "--finish", "epochs": 9, "patience": None}
    alone = train(config(2), tiny, tmp_path / "alone", stream=io.StringIO())
    assert summary["parameters_sha256"] == alone["parameters_sha256"]
    assert {name: summary[name] for name in summary if name.startswith("test/")} == {
        name: alone[name] for name in alone if name.startswith("test/")
    }
    for finish in (True, False):
        assert train(config(9), tiny, tmp_path / "run", finish=finish) == summary
    # Asked for more it goes on, from where it was stopped.
    longer = train(config(4), tiny, tmp_path / "run", stream=io.StringIO())
    assert "stopped_early" not in longer
    assert longer["parameters_sha256"] == train(config(4), tiny, tmp_path / "at once")["parameters_sha256"]


def test_a_process_that_compiles_nothing_is_refused(make_run, dataset, tmp_path):
    with jax.disable_jit(), pytest.raises(UserError, match=r"JAX_DISABLE_JIT is set: .*; unset it"):
        train(make_run("plain"), dataset, tmp_path / "run", stream=io.StringIO())


def test_nothing_is_compiled_after_the_first_epoch(make_run, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.01)
    compiled, at_request = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name or "cache_retrieval" in name else None
    )
    config = make_run("single_decoder", train__epochs=4, conditioning__sampling="gaussian")

    def never():
        at_request.append((len(read_metrics(tmp_path / "run")), len(compiled)))
        return False

    train(config, dataset, tmp_path / "run", stop_requested=never, stream=io.StringIO())
    after_first = [count for epochs, count in at_request if 1 <= epochs < 4]
    assert len(compiled) > 0
    assert len(after_first) > 3
    assert after_first[0] == after_first[-1]


def test_figures_are_drawn_on_the_way_and_of_the_best_model_at_the_end(make_run, dataset, tmp_path, monkeypatch):
    drawn = []
    draw = "mtvae_jax.training.first_stage.RunFigures.__call__"
    monkeypatch.setattr(draw, lambda _, variables, log, *, epoch: drawn.append(epoch))
    config = make_run("plain", train__epochs=5, train__figures_every=2)
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    assert drawn == [1, 2, 4, summary["best_epoch"]]


def test_a_batch_larger_than_the_data_is_refused(dataset, tmp_path, make_run):
    with pytest.raises(UserError, match=r"config.train.batch_size = 1000: must be at most 259"):
        train(make_run("plain", train__batch_size=1000), dataset, tmp_path / "run")


def test_bfloat16_trains_with_float32_parameters(make_run, dataset, tmp_path):
    config = make_run("multi_decoder", train__precision="bfloat16")
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    records = read_metrics(tmp_path / "run")
    assert records[1]["val/loss"] < records[0]["val/loss"]
    assert np.isfinite(summary["test/loss"])
    assert all(leaf.dtype == np.float32 for leaf in params(tmp_path / "run"))
