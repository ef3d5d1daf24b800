"""Learned priors: what they cost, what they draw, what they may look at; and the second stage that trains them."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import mtvae_jax
import mtvae_jax.data
from mtvae_jax.conditioning import condition, image_keys
from mtvae_jax.errors import UserError
from mtvae_jax.learned_prior import LearnedPrior, prior_directory
from mtvae_jax.losses import gaussian_kl, gaussian_kl_to
from mtvae_jax.metric_log import read_metrics
from mtvae_jax.prior import has_second_stage, train_prior
from mtvae_jax.train import train

KEY = jax.random.key(0)
KEYS = image_keys(KEY, 8)
GRID = np.zeros((28, 28, 1), bool)
GRID[1::4, 1::4] = True


# ---------------------------------------------------------------------------------------- KL to a correlated Gaussian


def test_kl_to_the_standard_normal_is_the_closed_form():
    mean, log_variance = jax.random.normal(KEY, (2, 5, 3))
    identity = jnp.broadcast_to(jnp.eye(3), (5, 3, 3))
    found = gaussian_kl_to(mean, log_variance, jnp.zeros((5, 3)), identity)
    np.testing.assert_allclose(found, gaussian_kl(mean, log_variance), rtol=1e-5)


def test_kl_to_a_correlated_gaussian_is_the_mean_log_ratio_of_draws():
    random = np.random.default_rng(0)
    mean, log_variance, prior_mean = random.normal(size=(3, 1, 3))
    factor = np.tril(random.normal(size=(1, 3, 3)), -1) + np.diag([0.5, 1.0, 2.0])
    draws = mean[0] + np.exp(0.5 * log_variance[0]) * random.standard_normal((200_000, 3))
    posterior = scipy.stats.multivariate_normal(mean[0], np.diag(np.exp(log_variance[0])))
    prior = scipy.stats.multivariate_normal(prior_mean[0], np.linalg.inv(factor[0] @ factor[0].T))
    expected = np.mean(posterior.logpdf(draws) - prior.logpdf(draws))
    found = gaussian_kl_to(*(jnp.asarray(x, jnp.float32) for x in (mean, log_variance, prior_mean, factor)))
    assert float(found[0]) == pytest.approx(expected, rel=0.02)


# --------------------------------------------------------------------------------------------------------- the networks


def learned(config):
    """An untrained `LearnedPrior` with fresh variables."""
    prior = LearnedPrior(config, (28, 28, 1), 0)
    return prior.with_variables(prior.objective().init(KEY))


@pytest.fixture(scope="module")
def gaussian_prior(make_run):
    return learned(make_run("multi_decoder"))


@pytest.fixture(scope="module")
def code_prior(make_run):
    return learned(make_run("multi_decoder", "vq"))


def test_draws_of_the_gaussian_prior_have_the_moments_that_its_cost_is_least_at(gaussian_prior):
    module = gaussian_prior.objective().prior
    m = np.zeros((4000, 28, 28, 2), np.float32)
    draws = np.asarray(gaussian_prior.sample(image_keys(KEY, 4000), m))
    mean, factor = module.apply(gaussian_prior.variables, m[:1], False, method="_parameters")
    covariance = np.linalg.inv(np.asarray(factor[0] @ factor[0].T, np.float64))
    scale = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(0) - mean[0]) / scale).max() < 0.08
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=0.08)


def test_cost_of_codes_is_the_sum_of_their_log_probabilities(code_prior):
    module, variables = code_prior.objective().prior, code_prior.variables
    codes = jax.random.randint(KEY, (3, 7, 7), 0, 16)
    m = condition(jax.random.uniform(KEY, (3, 28, 28, 1)), jnp.asarray(GRID))
    nats = jax.jit(lambda: module.apply(variables, codes, m, method="nats"))()
    logits = jax.jit(
        lambda: module.apply(variables, codes, m, method=lambda p, c, m: p.pixelcnn(c, p.encoder(m, False)))
    )()
    log_probabilities = np.float64(logits) - scipy.special.logsumexp(np.float64(logits), axis=-1, keepdims=True)
    expected = -np.take_along_axis(log_probabilities, np.asarray(codes)[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(nats, expected, rtol=1e-4)


def test_nothing_revealed_is_an_m_of_zeros(code_prior):
    zeros = np.zeros((8, 28, 28, 2), np.float32)
    np.testing.assert_array_equal(code_prior.sample(KEYS), code_prior.sample(KEYS, zeros))


def test_the_share_of_images_without_pixels_is_as_set(make_run, digits):
    """With every m empty or none, the loss must be that of p(z) or of p(z|m), by hand."""
    posterior = np.random.default_rng(0).integers(0, 16, (8, 7, 7)).astype(np.int32)
    batch = {"posterior": posterior, "images": digits[:8]}

    def nats(share):
        config = make_run("multi_decoder", "vq", prior__unconditional=share, prior__dropout=0.0)
        prior = learned(config)
        objective = LearnedPrior(config, (28, 28, 1), 0).objective()
        objective.prior = objective.prior.clone(encoder=objective.prior.encoder.clone(axis_name=None))
        variables = prior.variables
        loss, _ = jax.jit(objective.training_loss)(variables["params"], variables["batch_stats"], batch, KEYS, KEYS)
        return float(loss), prior, objective

    def by_hand(prior, objective, m):
        found, _ = objective.prior.apply(
            prior.variables, posterior, m, method="nats", train=True, mutable=["batch_stats"]
        )
        return float(found.mean()) / 49

    images = jnp.asarray(digits[:8] / 255.0, jnp.float32)
    revealed = condition(images, jnp.asarray(GRID))
    loss, prior, objective = nats(0.0)
    assert loss == pytest.approx(by_hand(prior, objective, revealed), rel=1e-4)
    loss, prior, objective = nats(0.999999)
    assert loss == pytest.approx(by_hand(prior, objective, jnp.zeros_like(revealed)), rel=1e-4)


# ---------------------------------------------------------------------------------------------------- the second stage


@pytest.fixture(scope="module")
def run(make_run, dataset, tmp_path_factory):
    """A finished run of both stages: config, work directory, summary of the prior."""
    config = make_run("multi_decoder", "vq", train__epochs=1, prior__epochs=2)
    workdir = tmp_path_factory.mktemp("prior") / "run"
    train(config, dataset, workdir, stream=io.StringIO())
    return config, workdir, train_prior(config, dataset, workdir, stream=io.StringIO())


def test_which_models_have_a_second_stage(make_run):
    found = {
        (latent, method): has_second_stage(make_run(method, latent))
        for latent in ("gaussian", "vq")
        for method in ("plain", "multi_decoder")
    }
    assert found == {
        ("gaussian", "plain"): False,
        ("gaussian", "multi_decoder"): True,
        ("vq", "plain"): True,
        ("vq", "multi_decoder"): True,
    }
    assert not has_second_stage(make_run("plain", "vq", prior__epochs=0))


def test_the_summary_reports_nats_and_the_bound(run, dataset):
    _, workdir, summary = run
    first_stage = json.loads((workdir / "summary.json").read_text())
    assert summary["test/nats"] == pytest.approx(49 * summary["test/nats_per_code"])
    # −log N(x; x̂, σ²I) at σ² = MSE, plus the code length, in bits a value; intensities lie 1/255 apart
    error = first_stage["test/reconstruction"]
    nats = 0.5 * 784 * (np.log(2 * np.pi * error) + 1) + summary["test/nats"] + 784 * np.log(255)
    assert summary["test/bound"] == pytest.approx(-nats, rel=1e-5)
    assert summary["test/bits_per_dim"] == pytest.approx(nats / 784 / np.log(2), rel=1e-5)
    assert summary["test/nats"] < 49 * np.log(16)  # better than codes that are all equally likely
    assert {"nats_conditioned", "bits_per_dim_conditioned"} <= {name.removeprefix("test/") for name in summary}


def test_the_data_are_encoded_once_and_a_damaged_file_is_made_anew(run, dataset, tmp_path):
    from mtvae_jax.prior import _posteriors

    model = mtvae_jax.load(run[1], prior=False)
    first = _posteriors(model, dataset, tmp_path / "posteriors.npz")
    np.testing.assert_array_equal(first["test"], model.posterior(dataset.test))
    (tmp_path / "posteriors.npz").write_bytes(b"PK damaged")
    again = _posteriors(model, dataset, tmp_path / "posteriors.npz")
    kept = _posteriors(None, None, tmp_path / "posteriors.npz")
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(first[split], again[split])
        np.testing.assert_array_equal(first[split], kept[split])


def test_another_setting_of_the_prior_is_another_folder(run, make_run):
    config, workdir, _ = run
    other = make_run("multi_decoder", "vq", train__epochs=1, prior__epochs=2, prior__hidden_dim=9)
    assert prior_directory(workdir, config, 8) != prior_directory(workdir, other, 8)
    assert prior_directory(workdir, config, 8) != prior_directory(workdir, config, 16)


# ---------------------------------------------------------------------------------------------------- what is generated


@pytest.fixture(scope="module")
def model(run):
    return mtvae_jax.load(run[1])


def test_draws_given_pixels_never_look_at_the_hidden_ones(model, digits):
    images = digits[:4] / np.float32(255)
    changed = np.where(GRID, images, 1 - images)
    draws = [model.sample(3, KEY, batch, GRID) for batch in (images, changed)]
    np.testing.assert_array_equal(*draws)
    assert draws[0].shape == (3, 4, 28, 28, 1)
    assert np.abs(draws[0][0] - draws[0][1]).max() > 1e-3
    revealed_changed = np.where(GRID, 1 - images, images)
    assert np.abs(model.sample(3, KEY, revealed_changed, GRID) - draws[0]).max() > 1e-3


def test_samples_come_from_the_learned_prior(model):
    best, asked, untrained = (model.sample(4, KEY, prior=prior) for prior in (None, "unconditional", "untrained"))
    np.testing.assert_array_equal(best, asked)
    assert np.abs(best - untrained).max() > 1e-3
    codes = model.prior.sample(image_keys(KEY, 4))
    decoded = model._decode(model._batched(model._embed, np.asarray(codes)), None)
    np.testing.assert_array_equal(best, decoded)


def test_sampling_does_not_depend_on_the_number_of_samples(model):
    np.testing.assert_allclose(model.sample(6, KEY)[:2], model.sample(2, KEY), atol=1e-5)


REFUSED = [
    (lambda m, x: m.sample(2, KEY, prior="best"), "must be 'conditional', 'unconditional', 'untrained' or None"),
    (lambda m, x: m.sample(2, KEY, prior="conditional"), "needs images and a mask"),
    (lambda m, x: m.sample(2, KEY, labels=np.zeros(2, int)), "the prior was trained without"),
    (
        lambda m, x: m.with_prior(None).sample(2, KEY, x, GRID, prior="conditional"),
        r"needs a second stage that has learned p\(z\|m\)",
    ),
    (lambda m, x: m.with_prior(None).sample(2, KEY, prior="unconditional"), r"needs a second stage that has learned p"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_a_prior_that_is_not_there_is_refused_in_one_line(call, message, model, digits):
    with pytest.raises(UserError, match=message) as error:
        call(model, digits[:2])
    assert "\n" not in str(error.value)


def test_a_prior_with_classes_draws_by_label(make_run, tmp_path):
    dataset = mtvae_jax.data.load_dataset("mnist_sample", max_train=256)
    config = make_run("plain", "vq", prior__class_conditional=True, train__epochs=1, prior__epochs=1)
    train(config, dataset, tmp_path / "run", stream=io.StringIO())
    train_prior(config, dataset, tmp_path / "run", stream=io.StringIO())
    model = mtvae_jax.load(tmp_path / "run")
    zeros, ones = (model.sample(3, KEY, labels=np.full(3, label)) for label in (0, 1))
    assert zeros.shape == (3, 28, 28, 1)
    assert model.sample(3, KEY).shape == (3, 28, 28, 1)
    codes = [model.prior.sample(KEYS, None, np.full(8, label, np.int32)) for label in (0, 1)]
    assert (np.asarray(codes[0]) != np.asarray(codes[1])).any() or np.abs(zeros - ones).max() > 0
    for labels in (np.zeros(2, int), np.full(3, 10), np.full(3, -1), np.zeros(3)):
        with pytest.raises(UserError, match="labels: must be 3 integers in 0 … 9"):
            model.sample(3, KEY, labels=labels)


def test_classes_without_labels_are_refused(run, make_run, dataset):
    config = make_run("multi_decoder", "vq", train__epochs=1, prior__class_conditional=True)
    with pytest.raises(UserError, match=r"config.prior.class_conditional = True: digits has no labels; must be False"):
        train_prior(config, dataset, run[1])


def test_a_gaussian_prior_learns_from_the_revealed_pixels(make_run, dataset, tmp_path):
    config = make_run("single_decoder", train__epochs=2, prior__epochs=3)
    train(config, dataset, tmp_path / "run", stream=io.StringIO())
    summary = train_prior(config, dataset, tmp_path / "run", stream=io.StringIO())
    assert "test/nats" not in summary  # p(z) = N(0, I) is known
    records = read_metrics(prior_directory(tmp_path / "run", config, summary["model_step"]))
    assert records[-1]["val/nats_conditioned"] < records[0]["val/nats_conditioned"]
    model = mtvae_jax.load(tmp_path / "run")
    images = dataset.test[:4]
    given, blind = (model.sample(4, KEY, images, GRID, prior=prior) for prior in (None, "unconditional"))
    assert given.shape == (4, 4, 28, 28, 1)
    assert np.abs(given - blind).max() > 1e-3
