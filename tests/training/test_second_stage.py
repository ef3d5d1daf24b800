"""The second stage by itself: what its objective shows the prior, whole runs of it, and draws given pixels."""

import dataclasses
import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from small_runs import small_config, tiny_config

import mtvae_jax
from mtvae_jax.conditioning import condition, draw_masks
from mtvae_jax.config import resolve
from mtvae_jax.errors import UserError
from mtvae_jax.losses import gaussian_kl_to
from mtvae_jax.models.encoder import Encoder
from mtvae_jax.models.priors import GaussianPrior
from mtvae_jax.randomness import image_keys
from mtvae_jax.trained.prior import prior_directory
from mtvae_jax.training.first_stage import train
from mtvae_jax.training.loop import Stopped
from mtvae_jax.training.prior_objective import PriorObjective
from mtvae_jax.training.second_stage import count_labels, train_prior
from mtvae_jax.workdir.fingerprint import fingerprint
from mtvae_jax.workdir.metric_log import read_metrics

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)
SHAPE = (6, 6, 1)
GRID = np.zeros(SHAPE, bool)
GRID[::4, ::4] = True  # the grid of stride 4 that a model is trained on, centred


# ---------------------------------------------------------------------------------------------- the Gaussian and its KL


def test_kl_to_any_normal_is_the_expected_difference_of_log_densities():
    nodes, weights = special.roots_hermitenorm(3)  # exact for log densities, which are quadratic
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    weight = np.outer(weights, weights).ravel() / (2 * np.pi)
    for _ in range(5):
        mean, log_variance, prior_mean = RANDOM.normal(size=(3, 2))
        factor = np.tril(RANDOM.normal(size=(2, 2)))
        factor[np.diag_indices(2)] = np.exp(factor[np.diag_indices(2)])
        q = stats.multivariate_normal(mean, np.diag(np.exp(log_variance)))
        p = stats.multivariate_normal(prior_mean, np.linalg.inv(factor @ factor.T))
        z = mean + np.exp(0.5 * log_variance) * grid
        expected = weight @ (q.logpdf(z) - p.logpdf(z))
        one = gaussian_kl_to(*(jnp.asarray(x)[None] for x in (mean, log_variance, prior_mean, factor)))
        np.testing.assert_allclose(one, [expected], rtol=1e-4)


def test_samples_of_the_gaussian_prior_have_the_mean_and_covariance_of_its_kl():
    encoder = Encoder((4,), normalise=False, axis_name=None)
    prior = GaussianPrior(encoder, latent_dim=3, hidden_dim=4)
    m = jnp.asarray(RANDOM.uniform(size=(1, 6, 6, 2)), jnp.float32)
    variables = jax.jit(lambda key: prior.init(key, jnp.zeros((1, 2, 3)), m, method="nats"))(KEY)
    # A strongly correlated prior, not the near standard one of the start.
    moments = variables["params"]["moments"]
    moments["bias"] = jnp.asarray(RANDOM.normal(size=moments["bias"].shape), jnp.float32)

    @jax.jit
    def precision_and_mean(at):
        """The KL is quadratic in the posterior's mean: from its slope and curvature there."""

        def kl(mean):
            return prior.apply(variables, jnp.stack([mean, jnp.zeros(3)])[None], m, method="nats")[0]

        precision = jax.hessian(kl)(at)
        return precision, at - jnp.linalg.solve(precision, jax.grad(kl)(at))

    precision, mean = precision_and_mean(jnp.array([0.3, -1.0, 2.0]))
    covariance = np.linalg.inv(np.float64(precision))
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() > 0.1
    many = jnp.repeat(m, 20000, axis=0)
    draws = jax.jit(lambda keys, m: prior.apply(variables, keys, m, method="sample"))(image_keys(KEY, 20000), many)
    error = 5 * np.sqrt(np.diag(covariance) / 20000)
    assert (np.abs(draws.mean(0) - mean) < error).all()
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.05 * np.diag(covariance).max())


# ------------------------------------------------------------------------------------------------------- the objective


class Recorder:
    """In the place of a prior: remembers what it is given; its nats are 6 an image, 9 with anything revealed."""

    def apply(self, variables, posterior, m, labels=None, keys=None, *, train=False, mutable=False, method):
        assert method == "nats"
        self.m, self.labels, self.keys = m, labels, keys
        nats = jnp.full(len(posterior), 6.0) + (0.0 if m is None else 3.0 * (m.reshape(len(m), -1) != 0).any(-1))
        return (nats, {}) if mutable else nats


def recorded(share, method="multi_decoder", latent="vq"):
    config = resolve(small_config(method, latent=latent, prior__unconditional=share), SHAPE)
    objective = PriorObjective(config, SHAPE, 0)
    objective.prior = Recorder()
    return objective.prior, objective


def batch_of(objective, num):
    shape = (num, 2, 2) if objective.codes_per_image > 1 else (num, 2, 4)
    images = np.random.default_rng(1).integers(1, 256, (num, *SHAPE), np.uint8)
    return {"posterior": np.zeros(shape, np.int32), "images": images, "labels": np.arange(num) % 3}


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_share_of_images_that_is_asked_for_reveals_nothing(share):
    recorder, objective = recorded(share)
    keys = image_keys(KEY, 1000), image_keys(jax.random.key(1), 1000)
    batch = batch_of(objective, 1000)
    loss, (_, terms) = objective.training_loss({}, {}, batch, *keys)
    empty = ~np.asarray(recorder.m).any((1, 2, 3))
    assert abs(empty.mean() - share) < 5 * np.sqrt(share * (1 - share) / 1000) + 1e-9
    masks = draw_masks(objective.config, keys[1], *SHAPE[:2])
    whole = condition(jnp.asarray(batch["images"] / 255.0, jnp.float32), masks)
    np.testing.assert_allclose(recorder.m[~empty], whole[~empty], rtol=1e-6)
    assert float(loss) == pytest.approx((6 + 3 * (1 - empty.mean())) / 4, rel=1e-5)  # nats a code
    assert {name: term.shape for name, term in terms.items()} == objective.term_shapes
    np.testing.assert_array_equal(recorder.labels, batch["labels"])
    assert len(np.unique(jax.random.key_data(recorder.keys), axis=0)) == 1000


def test_a_prior_for_a_model_without_pixels_sees_none():
    recorder, objective = recorded(0.5, "plain")
    loss, _ = objective.training_loss({}, {}, {"posterior": np.zeros((4, 2, 2), int)}, image_keys(KEY, 4), None)
    assert recorder.m is None
    assert float(loss) == pytest.approx(6 / 4)


def test_the_share_and_the_exponent_are_arguments_of_the_program():
    def program(share, exponent):
        _, objective = recorded(share, "single_decoder")
        with objective.config.unlocked():
            objective.config.conditioning.exponent = exponent
        keys = image_keys(KEY, 4)
        loss = jax.jit(objective.training_loss)
        return loss.lower({}, {}, batch_of(objective, 4), keys, keys, objective.knobs).as_text(), objective.knobs

    (one, knobs), (other, others) = program(0.3, 20.0), program(0.7, 2.0)
    assert one == other
    assert float(others.unconditional - knobs.unconditional) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("given", "expected", "loss"),
    [
        (("multi_decoder", "vq", 0.3), {"nats": 6, "nats_conditioned": 9}, (0.3 * 6 + 0.7 * 9) / 4),
        (("multi_decoder", "vq", 0.0), {"nats_conditioned": 9}, 9 / 4),
        (("multi_decoder", "vq", 1.0), {"nats": 6}, 6 / 4),
        (("plain", "vq", 0.3), {"nats": 6}, 6 / 4),
        (("multi_decoder", "gaussian", 0.3), {"nats_conditioned": 9}, 9),
    ],
    ids=str,
)
def test_evaluation_reports_what_the_prior_has_learned(given, expected, loss):
    method, latent, share = given
    _, objective = recorded(share, method, latent)
    terms = objective.evaluation_terms({}, batch_of(objective, 8), image_keys(KEY, 8), image_keys(KEY, 8))
    means = {name: np.mean(term) for name, term in terms.items()}
    assert means == expected
    per_code = {name.replace("nats", "nats_per_code"): value / 4 for name, value in expected.items()}
    wanted = expected | {"loss": loss} | (per_code if latent == "vq" else {})
    assert objective.metrics(means) == pytest.approx(wanted)


def test_in_training_the_loss_is_reported_as_it_is():
    _, objective = recorded(0.3)
    assert objective.metrics({"loss": np.float32(1.5)}) == {"loss": 1.5}


# ----------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def first_stage(tiny, tmp_path_factory):
    """A function (latent, method) → a directory whose model is trained; each is trained once, and to be copied."""
    directory, trained = tmp_path_factory.mktemp("models"), {}

    def model(latent, method):
        workdir = directory / f"{latent}-{method}"
        if workdir not in trained:
            trained[workdir] = train(tiny_config(latent, method), tiny, workdir, stream=io.StringIO())
        return workdir

    return model


@pytest.fixture(scope="module")
def run_with_prior(first_stage, tiny, tmp_path_factory):
    """A function (latent, method, labels) → (work directory, summary of the second stage); each is trained once."""
    done = {}

    def run(latent="vq", method="multi_decoder", labels=False):
        given = latent, method, labels
        if given not in done:
            workdir = tmp_path_factory.mktemp("run") / "run"
            shutil.copytree(first_stage(latent, method), workdir)
            figures = given in (("vq", "multi_decoder", False), ("gaussian", "plain", True))
            config = tiny_config(latent, method, prior__class_conditional=labels, train__figures_every=int(figures))
            train(config, tiny, workdir)  # complete: takes note of the prior's settings
            done[given] = workdir, train_prior(config, tiny, workdir, stream=io.StringIO())
        return done[given]

    return run


@pytest.fixture(scope="module")
def loaded(run_with_prior):
    """A function as `run_with_prior` → the model with its prior; each is loaded, and so compiled, once."""
    models = {}

    def model(*given):
        if given not in models:
            models[given] = mtvae_jax.load(run_with_prior(*given)[0])
        return models[given]

    return model


def folders(workdir):
    return sorted(workdir.glob("prior-*"))


def test_a_normal_z_learns_its_classes_though_its_prior_is_known(run_with_prior, loaded, tiny):
    workdir, summary = run_with_prior("gaussian", "plain", True)
    (folder,) = folders(workdir)
    assert json.loads((folder / "config.json").read_text())["num_classes"] == 3
    assert np.isfinite(summary["test/nats"])
    assert (workdir / "figures" / "samples_by_class.png").stat().st_size > 5000
    model = loaded("gaussian", "plain", True)
    assert model.sample(3, jax.random.key(0), labels=[0, 1, 2]).shape == (3, *tiny.image_shape)


def test_a_second_stage_from_start_to_summary(run_with_prior, tiny):
    workdir, summary = run_with_prior()
    (folder,) = folders(workdir)
    (record,) = read_metrics(folder)
    assert record["val/loss"] == summary["val/loss"]
    assert summary["steps"] == 3
    assert {path.stem for path in (workdir / "figures").iterdir()} == {"prior_curves", "samples", "draws"}
    # The bound on log p(x): the likelihood at its best variance, and what the codes cost.
    error = mtvae_jax.workdir.directory.read_summary(workdir)["test/reconstruction_conditioned"]
    nats = summary["test/nats_conditioned"] + 36 / 2 * (np.log(2 * np.pi * error) + 1) + 36 * np.log(255)
    assert summary["test/bits_per_dim_conditioned"] == pytest.approx(nats / 36 / np.log(2), rel=1e-5)
    assert summary["test/bound_conditioned"] == pytest.approx(-nats, rel=1e-5)
    assert summary["test/nats_per_code"] == pytest.approx(summary["test/nats"] / 9)

    model = mtvae_jax.load(workdir)
    np.testing.assert_array_equal(np.load(folder / "posteriors.npz")["test"], model.posterior(tiny.test))
    assert summary["parameters_sha256"] == fingerprint(model.prior.variables)
    assert mtvae_jax.load(workdir, prior=False).prior is None


def test_a_finished_prior_is_not_trained_again_and_another_one_gets_its_own_folder(run_with_prior, tiny, tmp_path):
    workdir, summary = run_with_prior()
    out = io.StringIO()
    assert train_prior(tiny_config("vq"), tiny, workdir, stream=out) == summary
    assert out.getvalue() == ""
    assert len(folders(workdir)) == 1

    shutil.copytree(workdir, tmp_path / "run")
    other = tiny_config("vq", prior__hidden_dim=6)
    train(other, tiny, tmp_path / "run")  # the same model
    assert mtvae_jax.load(tmp_path / "run").prior is None  # not trained yet
    changed = train_prior(other, tiny, tmp_path / "run", stream=io.StringIO())
    assert changed["parameters"] != summary["parameters"]
    assert len(folders(tmp_path / "run")) == 2
    assert mtvae_jax.load(tmp_path / "run").prior.config.prior.hidden_dim == 6


def test_a_prior_of_another_state_of_the_model_gets_its_own_folder(tmp_path):
    config = tiny_config("vq")
    assert prior_directory(tmp_path, config, 8) == prior_directory(tmp_path, tiny_config("vq"), 8)
    assert prior_directory(tmp_path, config, 8) != prior_directory(tmp_path, config, 16)


def test_a_gaussian_prior_learns_from_the_revealed_pixels(first_stage, tiny, tmp_path):
    workdir, config = tmp_path / "run", tiny_config("gaussian", "single_decoder", prior__epochs=20)
    shutil.copytree(first_stage("gaussian", "single_decoder"), workdir)
    summary = train_prior(config, tiny, workdir, stream=io.StringIO())
    assert "test/nats" not in summary  # p(z) = N(0, I) is known
    records = read_metrics(folders(workdir)[0])
    # Of 48 images it learns them by heart.
    assert records[-1]["train/loss"] < 0.2 * records[0]["train/loss"]


def test_a_prior_stopped_in_mid_epoch_and_started_again_gives_the_same_bits(first_stage, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mtvae_jax.training.loop.SECONDS_PER_CALL", 0.0)  # a step a call: stops fall within epochs
    config = tiny_config("vq", prior__epochs=2, prior__dropout=0.3, prior__ema_decay=0.9)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    for workdir in (unbroken, broken):
        shutil.copytree(first_stage("vq", "multi_decoder"), workdir)
        train(config, tiny, workdir)
    train_prior(config, tiny, unbroken, stream=io.StringIO())
    stops = 0
    while True:
        calls = iter(range(100))
        try:
            train_prior(config, tiny, broken, stop_requested=lambda: next(calls) == 1, stream=io.StringIO())  # noqa: B023
            break
        except Stopped:
            stops += 1
            assert read_metrics(folders(broken)[0]) == [] or stops > 1
            (folders(broken)[0] / "posteriors.npz").write_bytes(b"damaged")  # is made again
    assert stops >= 2
    first, second = (jax.tree.leaves(mtvae_jax.load(workdir).prior.variables) for workdir in (unbroken, broken))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    one, two = ([r | {"images_per_second": 0} for r in read_metrics(folders(d)[0])] for d in (unbroken, broken))
    assert one == two


def test_classes_need_labels_and_a_batch_needs_images(first_stage, tiny, tmp_path):
    workdir = first_stage("vq", "multi_decoder")
    with pytest.raises(UserError, match=r"config.prior.batch_size = 64: must be at most 48, the images") as error:
        train_prior(tiny_config("vq", prior__batch_size=64), tiny, shutil.copytree(workdir, tmp_path / "run"))
    assert "\n" not in str(error.value)
    without = dataclasses.replace(tiny, train_labels=None, validation_labels=None, test_labels=None)
    with pytest.raises(UserError, match=r"config.prior.class_conditional = True: .* has no labels; must be False"):
        train_prior(tiny_config("vq", prior__class_conditional=True), without, workdir)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"test_labels": None}, "has no labels of the test images; must be False"),
        ({"train_labels": np.array([-1, 3], np.int32)}, r"lie in -1 … \d+; must be classes, in 0 … 65535"),
        ({"validation_labels": np.array([0, 2**31 - 1], np.int32)}, "lie in 0 … 2147483647; must be classes"),
        ({"test_labels": np.array([0, 2], np.int32)}, "has test images of label 2, which no training image has; must"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message, tiny):
    config = tiny_config("vq", prior__class_conditional=True)
    known = dict.fromkeys(("train_labels", "validation_labels", "test_labels"), np.array([0, 1], np.int32))
    with pytest.raises(UserError, match=message):
        count_labels(config, dataclasses.replace(tiny, **(known | labels)))
    assert count_labels(config, dataclasses.replace(tiny, **known)) == [1, 1]


def test_the_bound_counts_the_label_but_not_in_a_second_stage_that_an_earlier_version_began(
    run_with_prior, tiny, tmp_path
):
    workdir, summary = run_with_prior(*CLASSES)
    shutil.copytree(workdir, tmp_path / "run")
    (folder,) = folders(tmp_path / "run")
    (folder / "summary.json").unlink()
    description = json.loads((folder / "config.json").read_text())
    frequencies = np.bincount(tiny.train_labels) / len(tiny.train_labels)
    np.testing.assert_allclose(np.divide(description.pop("label_counts"), 48), frequencies)
    (folder / "config.json").write_text(json.dumps(description))
    before = train_prior(tiny_config(*CLASSES[:2], prior__class_conditional=True), tiny, tmp_path / "run",
                         stream=io.StringIO())
    assert before["parameters_sha256"] == summary["parameters_sha256"]  # there is no head without pixels
    label = -np.log(frequencies[tiny.test_labels]).mean()
    assert summary["test/nats"] - before["test/nats"] == pytest.approx(label, rel=1e-4)
    assert before["test/bound"] - summary["test/bound"] == pytest.approx(label, rel=1e-3)
    assert mtvae_jax.load(tmp_path / "run").prior.label_counts is None


# --------------------------------------------------------------------------------------------------- the prior of codes


def test_nats_of_codes_are_minus_the_sum_of_their_log_probabilities(loaded, tiny):
    model = loaded("vq", "multi_decoder", False)
    module, variables = model.prior.network, model.prior.variables
    codes = model.posterior(tiny.test)
    m = condition(tiny.test / np.float32(255), np.ones(SHAPE, bool))

    def logits(prior, codes, m):
        return prior.pixelcnn(codes, prior.encoder(m, False))

    @jax.jit
    def run(codes, m):
        return module.apply(variables, codes, m, method="nats"), module.apply(variables, codes, m, method=logits)

    nats, found = run(codes, m)
    log_probabilities = special.log_softmax(np.float64(found), axis=-1)
    expected = -np.take_along_axis(log_probabilities, codes[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(nats, expected, rtol=1e-5)
    nothing, _ = run(codes, jnp.zeros_like(m))
    assert np.abs(nothing - nats).min() > 1e-5  # m matters to every image

    # What is reported as p(z) is p(z|m) with nothing revealed.
    objective = PriorObjective.of(model.prior)
    rows = model.prior.rows(codes, tiny.test, None)
    keys = image_keys(KEY, 8)
    terms = jax.jit(objective.evaluation_terms)(variables, rows, keys, keys)
    np.testing.assert_allclose(terms["nats"], nothing, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("latent", ["vq", "gaussian"])
@pytest.mark.parametrize("prior", [None, "unconditional", "untrained"])
def test_given_pixels_the_hidden_ones_are_never_looked_at(latent, prior, loaded, tiny):
    model, images = loaded(latent, "multi_decoder", False), tiny.test
    changed = np.where(GRID, images, 255 - images)
    draws, same = (model.sample(2, KEY, x, GRID, prior=prior) for x in (images, changed))
    assert draws.shape == (2, 8, *SHAPE)
    np.testing.assert_array_equal(draws, same)
    assert np.abs(draws[0] - draws[1]).max() > 0
    revealed = np.where(GRID, 255 - images, images)
    assert np.abs(model.sample(2, KEY, revealed, GRID, prior=prior) - draws).max() > 0
    if prior is None:
        np.testing.assert_array_equal(model.sample(2, KEY, images, GRID, prior="conditional"), draws)


@pytest.mark.parametrize("latent", ["vq", "gaussian"])
def test_given_pixels_z_follows_them_only_under_the_conditional_prior(latent, loaded, tiny, monkeypatch):
    model, seen = loaded(latent, "multi_decoder", False), []
    monkeypatch.setattr(type(model), "_decode_draws", lambda _, z, m: seen.append(z) or z)
    for prior in ("conditional", "unconditional"):
        for images in (tiny.test, 255 - tiny.test):
            model.sample(4, KEY, images, np.ones(SHAPE, bool), prior=prior)
    conditional, of_others, unconditional, again = seen
    assert not np.array_equal(conditional, of_others)
    np.testing.assert_array_equal(unconditional, again)


def test_from_nothing_the_best_prior_there_is(loaded):
    vq, gaussian = loaded("vq", "multi_decoder", False), loaded("gaussian", "multi_decoder", False)
    for model, learned in ((vq, True), (gaussian, False)):
        best, unconditional, untrained = (model.sample(8, KEY, prior=p) for p in (None, "unconditional", "untrained"))
        assert best.shape == (8, *SHAPE)
        np.testing.assert_array_equal(best, unconditional)
        assert np.array_equal(best, untrained) != learned  # p(z) = N(0, I) needs no learning
        assert np.abs(best - model.sample(8, jax.random.key(1))).max() > 0
    without = vq.with_prior(None)
    np.testing.assert_array_equal(without.sample(8, KEY), vq.sample(8, KEY, prior="untrained"))


def test_sampling_does_not_depend_on_the_number_of_samples(loaded):
    model = loaded("vq", "multi_decoder", False)
    np.testing.assert_allclose(model.sample(6, KEY)[:2], model.sample(2, KEY), atol=1e-5)


def test_labels_choose_the_class(loaded, tiny):
    model = loaded("vq", "plain", True)
    assert model.prior.num_classes == 3
    module, variables = model.prior.network, model.prior.variables
    codes = model.posterior(tiny.test)
    nats = jax.jit(lambda labels: module.apply(variables, codes, None, labels, method="nats"))
    assert np.abs(nats(np.zeros(8, np.int32)) - nats(np.ones(8, np.int32))).min() > 1e-4
    one, again, other = (model.sample(8, KEY, labels=np.full(8, label)) for label in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    mixed = model.sample(8, KEY, labels=np.array([1, 2] * 4))
    np.testing.assert_array_equal(mixed[::2], one[::2])
    np.testing.assert_array_equal(mixed[1::2], other[1::2])
    assert model.sample(8, KEY).shape == one.shape  # classes at random


GIVEN = "vq", "multi_decoder", False
CLASSES = "vq", "plain", True
GAUSSIAN = "gaussian", "multi_decoder", False
REFUSED = [
    (GIVEN, {"prior": "best"}, "must be 'conditional', 'unconditional', 'untrained' or None"),
    (GIVEN, {"prior": "conditional"}, "needs images and a mask"),
    (None, {"prior": "conditional", "mask": True}, r"needs a second stage that has learned p\(z\|m\)"),
    (None, {"prior": "unconditional"}, "needs a second stage that has learned p"),
    (GIVEN, {"labels": [0] * 8}, "labels: the prior was trained without"),
    (GIVEN, {"labels": [0] * 8, "mask": True}, "labels: the prior was trained without"),
    (GIVEN, {"labels": [0] * 8, "prior": "untrained"}, "labels: "),
    (None, {"labels": [0] * 8}, "labels: "),
    (GAUSSIAN, {"labels": [0] * 8}, "labels: "),
    (CLASSES, {"labels": [0] * 7}, "labels: must be 8 integers in 0 … 2"),
    (CLASSES, {"labels": [0] * 7 + [3]}, "labels: must be 8 integers in 0 … 2"),
    (CLASSES, {"labels": [0.0] * 8}, "labels: must be 8 integers in 0 … 2"),
]


@pytest.mark.parametrize(("given", "arguments", "message"), REFUSED, ids=[f"{g} {a}" for g, a, _ in REFUSED])
def test_what_cannot_be_sampled_is_said_in_one_line(given, arguments, message, loaded, tiny):
    model = loaded(*GIVEN).with_prior(None) if given is None else loaded(*given)
    if arguments.get("mask"):
        arguments = arguments | {"images": tiny.test, "mask": GRID}
    with pytest.raises(UserError, match=message) as error:
        model.sample(8, KEY, **arguments)
    assert "\n" not in str(error.value)
