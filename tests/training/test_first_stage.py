"""A run from end to end: every method, every file, resuming, and what a finished or foreign directory answers."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from small_runs import small_config

import mtvae_jax
import mtvae_jax.data
from mtvae_jax.config import has_second_stage, resolve
from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import Stopped
from mtvae_jax.training.second_stage import train_prior
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.directory import examine_workdir
from mtvae_jax.workdir.fingerprint import fingerprint
from mtvae_jax.workdir.metric_log import read_metrics

ALWAYS = {
    "gaussian": {"loss", "kl", "active_units"},
    "vq": {"loss", "vq", "quantisation_error", "perplexity", "codes_used"},
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


@pytest.mark.parametrize(
    ("latent", "method", "sampling"),
    [
        ("gaussian", "plain", "exact"),
        ("gaussian", "semi_conditional", "exact"),
        ("gaussian", "single_decoder", "gaussian"),
        ("vq", "multi_decoder", "uniform"),
    ],
)
def test_from_start_to_summary(latent, method, sampling, make_run, dataset, tmp_path):
    config = make_run(method, latent, conditioning__sampling=sampling)
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
    assert ("test_reconstruction_by_pixels" in summary) == (method == "single_decoder")
    assert summary["data"]["fingerprint"] == dataset.fingerprint
    assert summary["parameters"]["total"] > 0
    assert summary["parameters_sha256"] == fingerprint(mtvae_jax.load(tmp_path / "run").variables)
    assert summary["steps"] == 2 * (len(dataset.train) // 32)
    assert summary["train_images"] == summary["steps"] * 32
    assert out.getvalue().count("\nepoch ") == 2
    pictures = {"reconstructions", "loss_curves"}
    pictures |= {"samples"} if latent == "gaussian" else set()  # codes have no prior yet
    pictures |= {"sampling_types"} if method != "plain" else set()
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == pictures
    assert list((tmp_path / "run" / "tensorboard").iterdir())

    # The loaded model is the one that was judged.
    model = mtvae_jax.load(tmp_path / "run")
    mask = np.ones((28, 28, 1), bool)
    assert model.encode(dataset.test).shape == (len(dataset.test), *([] if latent == "gaussian" else [7, 7]), 4)
    if METHODS[method].unconditioned:
        assert model.reconstruct(dataset.test).shape == dataset.test.shape
    if METHODS[method].conditional_decoder:
        assert model.reconstruct(dataset.test, mask).shape == dataset.test.shape


# Every model, every way to reveal pixels, both stages, on images and networks as small as can be.
SAMPLINGS = {
    "plain": ["exact"],
    "semi_conditional": ["exact", "uniform", "gaussian"],
    "multi_decoder": ["exact", "uniform", "gaussian"],
    "single_decoder": ["uniform", "gaussian"],
}
ALL = [(latent, *pair) for latent in ALWAYS for pair in ((m, s) for m in METHODS for s in SAMPLINGS[m])]


@pytest.fixture(scope="module")
def tiny(digits, tmp_path_factory):
    """48 images of 6 × 6 for training, 8 for validation, 8 for the test."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    images = digits[:64, 4:28:4, 4:28:4]
    np.savez(path, images=images[:56], test_images=images[56:])
    return mtvae_jax.data.load_dataset(f"npz:{path}", validation=1 / 7)


def tiny_config(latent, method, sampling, **overrides):
    small = {
        "conditioning__sampling": sampling,
        "data__validation": 1 / 7,
        "model__hidden_dims": (4,),
        "model__latent_dim": 2,
        "model__residual_layers": 0,
        "model__codebook_ema": 0.9,
        "model__normalization": "none",
        "train__batch_size": 16,
        "train__epochs": 1,
        "prior__batch_size": 16,
        "prior__num_layers": 1,
    }
    return resolve(small_config(method, latent=latent, **small | overrides), (6, 6, 1))


@pytest.mark.parametrize(("latent", "method", "sampling"), ALL)
def test_every_model_and_sampling_type_takes_a_few_steps(latent, method, sampling, tiny, tmp_path, monkeypatch):
    for figures in ("mtvae_jax.training.first_stage.RunFigures", "mtvae_jax.training.second_stage.PriorFigures"):
        monkeypatch.setattr(f"{figures}.__call__", lambda *_, **__: None)
    monkeypatch.setattr("mtvae_jax.models.priors._CONTEXT_RESIDUAL_LAYERS", 0)
    monkeypatch.setattr("mtvae_jax.training.evaluate._COUNTS", ())
    config = tiny_config(latent, method, sampling)
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
    learned = {"nats"} if latent == "vq" else set()
    learned |= {"nats_conditioned"} if METHODS[method].conditional_decoder else set()
    assert {name for name in ("nats", "nats_conditioned") if f"test/{name}" in summary} == learned
    assert np.isfinite([value for name, value in summary.items() if name.startswith("test/")]).all()
    if latent == "vq":
        assert summary["test/loss"] == pytest.approx(np.log(16), rel=0.15)  # as good as uniform, after three steps
    prior = mtvae_jax.load(tmp_path / "run").prior
    assert (prior.knows_nothing_revealed, prior.sees_pixels) == ("nats" in learned, "nats_conditioned" in learned)


def test_what_is_odd_about_the_data_is_said_at_the_start_and_kept(tiny, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.first_stage.RunFigures.__call__", lambda *_, **__: None)
    np.savez(tmp_path / "odd.npz", images=digits[:60, 4:28:4, 4:28:4], ids=np.arange(60))
    odd = mtvae_jax.data.load_dataset(f"npz:{tmp_path / 'odd.npz'}", validation=0)
    out = io.StringIO()
    summary = train(tiny_config("gaussian", "plain", "exact"), odd, tmp_path / "run", stream=out)
    unused, chosen = odd.remarks
    assert unused == "the array ids of odd.npz is not used"
    assert chosen.startswith("the validation images are the test images: the best epoch is chosen on them")
    assert f"WARNING: {unused}\nWARNING: {chosen}\n" in out.getvalue()
    assert summary["warnings"][:2] == [unused, chosen]
    assert summary["data"]["remarks"] == [unused, chosen]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["remarks"] == [unused, chosen]
    assert tiny.remarks == ()


def test_single_decoder_is_judged_at_fixed_numbers_of_pixels(make_run, dataset, tmp_path):
    summary = train(make_run("single_decoder", train__epochs=1), dataset, tmp_path / "run", stream=io.StringIO())
    table = summary["test_reconstruction_by_pixels"]
    assert list(table) == ["0", "5", "10", "20", "49", "100", "200", "400", "784"]
    assert table["0"] == pytest.approx(summary["test/reconstruction"], rel=1e-5)  # an empty mask, the same z
    # All pixels revealed: no matter how masks are drawn, so by hand from the loaded model.
    model = mtvae_jax.load(tmp_path / "run")
    everything = model.reconstruct(dataset.test, np.ones((28, 28, 1), bool))
    assert table["784"] == pytest.approx(np.mean((everything - dataset.test / 255.0) ** 2), rel=0.05)  # z at its mean
    assert len(set(table.values())) == len(table)


def test_evaluation_covers_every_image_once(make_run, dataset, tmp_path):
    # The mean over all test images by hand, of the term that knows no noise.
    config = make_run("plain", train__epochs=1)
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    model = mtvae_jax.load(tmp_path / "run", "latest")
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
            train(config, dataset, tmp_path / "broken", stop_requested=lambda: next(calls) == 4, stream=io.StringIO())  # noqa: B023
            break
        except Stopped:
            stops += 1
            step = Checkpoints(tmp_path / "broken" / "checkpoints", read_only=True).latest_step
            assert stops > 1 or step % (len(dataset.train) // 32) != 0
    assert stops >= 3
    assert_same_bits(tmp_path / "unbroken", tmp_path / "broken")
    for record in read_metrics(tmp_path / "unbroken"):
        weights = [value for name, value in record.items() if name.startswith("train/weight_")]
        assert sum(weights) == pytest.approx(1, rel=1e-5)
        # What epochs are compared by is weighed as the user says.
        terms = {name: record[f"val/{name}"] for name in ("reconstruction", "reconstruction_conditioned", "kl")}
        expected = terms["reconstruction"] + terms["reconstruction_conditioned"] + config.loss.beta * terms["kl"]
        assert record["val/loss"] == pytest.approx(expected, rel=1e-4)
    assert len(set(weights)) == 3


def test_active_units_and_kl_per_dimension_are_those_of_the_test_split(make_run, dataset, tmp_path):
    config = make_run("plain", train__epochs=1, loss__beta=0.02)  # some dimensions say more than others
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    posterior = np.float64(mtvae_jax.load(tmp_path / "run").posterior(dataset.test))
    mean, log_variance = posterior[:, 0], posterior[:, 1]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(0)
    np.testing.assert_allclose(summary["test_kl_per_dimension"], sorted(kl)[::-1], rtol=1e-3)
    assert sum(summary["test_kl_per_dimension"]) == pytest.approx(summary["test/kl"], rel=1e-4)
    assert summary["test/active_units"] == (mean.var(0) > 0.01).sum()


def test_a_complete_run_answers_at_once_and_a_longer_one_goes_on(make_run, dataset, tmp_path):
    config = make_run("plain", train__epochs=1)
    first = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    out = io.StringIO()
    assert train(config, dataset, tmp_path / "run", stream=out) == first
    assert out.getvalue() == ""
    longer = make_run("plain", train__epochs=2)
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
    for figures in ("mtvae_jax.training.first_stage.RunFigures", "mtvae_jax.training.second_stage.PriorFigures"):
        monkeypatch.setattr(f"{figures}.__call__", lambda *_, **__: None)


@pytest.mark.usefixtures("a_step_a_call")
@pytest.mark.parametrize("stage", ["train", "prior"])
def test_out_of_patience_a_stage_ends_be_it_interrupted_and_is_complete(stage, tiny, tmp_path):
    # Steps too small for float32: no epoch is better than the first, so that two more are trained of nine.
    settings = {"epochs": 9, "patience": 2, "learning_rate": 1e-12, "weight_decay": 0.0}
    config = tiny_config(
        "gaussian", "multi_decoder", "exact", model__normalization="none", prior__dropout=0.0,
        **{f"{stage}__{name}": value for name, value in settings.items()},
    )  # fmt: skip
    summaries = []
    for workdir in (tmp_path / "unbroken", tmp_path / "broken"):
        if stage == "prior":
            train(config, tiny, workdir, stream=io.StringIO())
        run = train if stage == "train" else train_prior
        if workdir.name == "broken":
            for steps in (4, 5):  # within epoch 2, and at the very end
                with pytest.raises(Stopped):
                    run(config, tiny, workdir, stop_requested=until(steps), stream=io.StringIO())
        out = io.StringIO()
        summaries.append(run(config, tiny, workdir, stream=out))
        assert run(config, tiny, workdir) == summaries[-1]
        if stage == "train" or workdir.name == "unbroken":
            assert "ends after epoch 3 of 9: no better one in the last 2\n" in out.getvalue()
    for summary in summaries:
        assert (summary["epochs"], summary["best_epoch"], summary["steps"]) == (3, 1, 9)
        assert summary["stopped_early"] == {"by": "patience", "epochs": 9, "patience": 2}
    assert summaries[0]["parameters_sha256"] == summaries[1]["parameters_sha256"]


@pytest.mark.usefixtures("a_step_a_call")
def test_told_to_finish_a_run_ends_with_the_epochs_that_it_has(tiny, tmp_path):
    def config(epochs):
        return tiny_config("gaussian", "plain", "exact", train__epochs=epochs)

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


def test_a_directory_of_another_run_is_left_alone(make_run, dataset, tmp_path):
    train(make_run("plain", train__epochs=1), dataset, tmp_path / "run", stream=io.StringIO())
    with pytest.raises(UserError, match=r"holds a run with config.model.latent_dim = 4, not 5"):
        train(make_run("plain", train__epochs=1, model__latent_dim=5), dataset, tmp_path / "run")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and not the work directory of a run"):
        train(make_run("plain", train__epochs=1), dataset, tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("above", [True, False])
def test_a_link_to_nowhere_is_named(above, make_run, dataset, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unplugged")
    workdir = tmp_path / "link" / "run" if above else tmp_path / "link"
    for refuse in (lambda: train(make_run("plain"), dataset, workdir),
                   lambda: examine_workdir(workdir, make_run("plain"), dataset)):
        with pytest.raises(UserError, match=r"link: is a link to .*unplugged, which is not there; mount or make"):
            refuse()


def test_a_linked_folder_is_one(make_run, dataset, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert not examine_workdir(tmp_path / "link", make_run("plain"), dataset)


def test_a_process_that_compiles_nothing_is_refused(make_run, dataset, tmp_path):
    with jax.disable_jit(), pytest.raises(UserError, match=r"JAX_DISABLE_JIT is set: .*; unset it"):
        train(make_run("plain"), dataset, tmp_path / "run", stream=io.StringIO())


def test_other_images_under_the_same_name_are_refused(make_run, dataset, tmp_path):
    config = make_run("plain", train__epochs=1)
    train(config, dataset, tmp_path / "run", stream=io.StringIO())
    other = dataclasses.replace(dataset, fingerprint="0" * 16)
    with pytest.raises(UserError, match="holds a run on other images"):
        train(config, other, tmp_path / "run")


def test_nothing_is_compiled_after_the_first_epoch(make_run, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.01)
    compiled, at_request = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name or "cache_retrieval" in name else None
    )
    config = make_run("single_decoder", train__epochs=4)

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


@pytest.mark.parametrize("shape", [(20, 12, 3), (9, 9, 2)])
def test_images_of_any_size_and_channels_train(shape, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (80, *shape), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    dataset = mtvae_jax.data.load_dataset(f"npz:{tmp_path / 'mine.npz'}")
    config = resolve(small_config(dataset=f"npz:{tmp_path / 'mine.npz'}", train__epochs=1), shape)
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    assert summary["data"]["image_shape"] == list(shape)


def test_bfloat16_trains_with_float32_parameters(make_run, dataset, tmp_path):
    config = make_run("multi_decoder", train__precision="bfloat16")
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    records = read_metrics(tmp_path / "run")
    assert records[1]["val/loss"] < records[0]["val/loss"]
    assert np.isfinite(summary["test/loss"])
    assert all(leaf.dtype == np.float32 for leaf in params(tmp_path / "run"))
