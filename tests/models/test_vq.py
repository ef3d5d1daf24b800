"""The vector-quantised latent: float64 references for what it computes, NaNs that show which way gradients go."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_runs import small_config

from mtvae_jax.conditioning import condition, exact_grid_mask, uniform_mask
from mtvae_jax.config import resolve
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, count_parameters, grid_size, init_variables
from mtvae_jax.models.latents.vq import VectorQuantiser, nearest_codes
from mtvae_jax.objective import Objective
from mtvae_jax.ops.backend import PROCESSOR
from mtvae_jax.process.devices import replicate
from mtvae_jax.randomness import image_keys
from mtvae_jax.training import evaluate
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.start import start_from_data
from mtvae_jax.training.step import init_state

KEYS = image_keys(jax.random.key(0), 6)


def nearest(z_e, codebook):
    """float64, by the definition."""
    z_e, codebook = np.asarray(z_e, np.float64), np.asarray(codebook, np.float64)
    return np.argmin(((z_e[..., None, :] - codebook) ** 2).sum(-1), axis=-1)


# --------------------------------------------------------------------------------------------------------- nearest code


@pytest.mark.parametrize(("vectors", "codes", "dim"), [(7, 1, 2), (5, 9, 1), (6, 4, 3)])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_nearest_code_is_the_first_of_the_smallest_distances(vectors, codes, dim, data):
    # Small integers: every distance is exact, and many are equal.
    def integers(*shape):
        return data.draw(arrays.arrays(np.float32, shape, elements=st.integers(-4, 4)))

    z_e, codebook = integers(vectors, dim), integers(codes, dim)
    np.testing.assert_array_equal(jax.jit(nearest_codes)(z_e, codebook), nearest(z_e, codebook))


@pytest.mark.parametrize(
    ("offset", "outlier", "dtype"),
    [*itertools.product([0, 1, 100, 1000, 1e4], [False, True], [jnp.float32]), (0, False, jnp.bfloat16)],
)
def test_nearest_code_is_decided_in_float32_however_far_from_zero(offset, outlier, dtype):
    random = np.random.default_rng(0)
    z_e, codebook = (np.float32(random.normal(size=(size, 16)) + offset) for size in (2000, 128))
    if outlier:
        codebook[5] = 1e5
    z_e, codebook = jnp.asarray(z_e, dtype), jnp.asarray(codebook, dtype)
    codes = jax.jit(nearest_codes)(z_e, codebook)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, nearest(z_e, codebook))


# -------------------------------------------------------------------------------------------------- the quantiser alone


class Quantiser:
    """A `VectorQuantiser` whose encoder outputs are given: its projection is the identity. Functions are compiled."""

    def __init__(self, codebook, grid=(2, 3), **settings):
        size, dim = np.shape(codebook)
        self.module = VectorQuantiser(dim, size, grid, axis_name=None, **settings)
        projection = {"kernel": jnp.eye(dim)[None, None], "bias": jnp.zeros(dim)}
        fresh = self.module.init(jax.random.key(0), jnp.zeros((1, *grid, dim)), KEYS[:1], train=True)
        assert jax.tree.map(jnp.shape, fresh["params"]["projection"]) == jax.tree.map(jnp.shape, projection)
        self.params = {"codebook": jnp.asarray(codebook, jnp.float32), "projection": projection}
        self.stats = fresh.get("batch_stats", {})
        self._train = jax.jit(lambda variables, z_e, keys: self._apply(variables, z_e, keys, train=True))
        self._apply_plain = jax.jit(lambda variables, z_e, keys: self._apply(variables, z_e, keys))
        self._after_update = jax.jit(self.module.after_update)

    def _apply(self, variables, *arguments, **more):
        return self.module.apply(variables, *arguments, **more, mutable=["batch_stats"])

    def __call__(self, z_e, train=False):
        run = self._train if train else self._apply_plain
        return run({"params": self.params, "batch_stats": self.stats}, jnp.asarray(z_e, jnp.float32), KEYS[: len(z_e)])

    def step(self, z_e, optimised=None):
        """A step of training in which the optimiser makes the codebook `optimised`, or leaves it alone."""
        output, updates = self(z_e, train=True)
        params = self.params if optimised is None else self.params | {"codebook": optimised}
        self.params, self.stats = self._after_update(self.params, params, updates["batch_stats"])
        return output

    @property
    def codebook(self):
        return np.asarray(self.params["codebook"])


def outputs(seed, images=6, grid=(2, 3), dim=4):
    return np.random.default_rng(seed).normal(size=(images, *grid, dim)).astype(np.float32)


def codes_at(seed, size=5, dim=4):
    return np.random.default_rng(seed).normal(size=(size, dim)).astype(np.float32)


def test_every_position_gets_its_nearest_code_and_the_terms_are_means_over_positions():
    quantiser, z_e = Quantiser(codes_at(1)), outputs(2)
    (z_q, terms, codes), _ = quantiser(z_e)
    expected = nearest(z_e, quantiser.codebook)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(z_q, quantiser.codebook[expected])
    distances = ((np.float64(z_e) - quantiser.codebook[expected]) ** 2).sum(-1).mean((1, 2))
    np.testing.assert_allclose(terms["codebook"], distances, rtol=1e-5)
    np.testing.assert_allclose(terms["commitment"], distances, rtol=1e-5)
    usage = [np.bincount(image.ravel(), minlength=5) / 6 for image in expected]
    np.testing.assert_allclose(terms["usage"], usage, rtol=1e-6)
    from_centre = z_e - quantiser.codebook.mean(0)
    np.testing.assert_allclose(terms["output"], from_centre.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(terms["output_square"], (from_centre**2).sum(-1).mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(quantiser.module.apply({"params": quantiser.params}, codes, method="embed"),
                                  quantiser.codebook[expected])


def test_the_terms_of_an_image_do_not_depend_on_its_batch():
    quantiser, z_e = Quantiser(codes_at(1), ema_decay=0.9), outputs(2)
    (_, alone, _), _ = quantiser(z_e[:1], train=True)
    (_, together, _), _ = quantiser(z_e, train=True)
    for name, term in alone.items():
        np.testing.assert_allclose(together[name][0], term[0], rtol=1e-6, err_msg=name)


def test_objective_is_codebook_plus_beta_commitment():
    module = Quantiser(codes_at(1)).module
    terms = {
        "codebook": np.array([1.0, 2.0]),
        "commitment": np.array([3.0, 5.0]),
        "usage": np.ones((2, 5)) / 5,
        "output": np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]),
        "output_square": np.array([9.0, 14.0]),
    }
    np.testing.assert_allclose(module.objective(terms, 0.25), [1.75, 3.25])
    metrics = module.metrics({name: term.mean(0) for name, term in terms.items()}, 0.25)
    assert metrics["vq"] == pytest.approx(2.5)
    assert metrics["quantisation_error"] == pytest.approx(4 / (11.5 - 0.5**2 - 1.5**2))
    assert metrics["perplexity"] == pytest.approx(5)
    assert metrics["nats"] == pytest.approx(6 * np.log(5))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_quantisation_error_is_a_share_of_the_variance_wherever_the_outputs_lie(offset):
    quantiser, z_e = Quantiser(codes_at(1) + np.float32(offset)), outputs(2) + np.float32(offset)
    (_, terms, codes), _ = quantiser(z_e)
    metrics = quantiser.module.metrics({name: np.mean(term, axis=0) for name, term in terms.items()}, 0.25)
    z_e = np.float64(z_e).reshape(-1, 4)
    lost = ((z_e - quantiser.codebook[np.ravel(codes)]) ** 2).sum(-1).mean()
    assert metrics["quantisation_error"] == pytest.approx(lost / z_e.var(0).sum(), rel=1e-4)


def test_outputs_that_are_all_alike_have_a_quantisation_error_all_the_same():
    module = Quantiser(codes_at(1)).module
    means = {"codebook": 0.0, "commitment": 1e-9, "usage": np.ones(5) / 5, "output": np.full(4, 0.1)}
    for square in (0.04, 0.04 - 1e-9, 0.0):
        metrics = module.metrics(means | {"output_square": square}, 0.25)
        assert np.isfinite(metrics["quantisation_error"])


def test_codes_before_there_is_a_prior_are_all_equally_likely():
    quantiser = Quantiser(codes_at(1))
    z = quantiser.module.apply({"params": quantiser.params}, jax.random.key(3), 1000, method="prior_sample")
    assert z.shape == (1000, 2, 3, 4)
    counts = np.bincount(nearest(z, quantiser.codebook).ravel(), minlength=5)
    assert ((counts - 1200) ** 2 / 1200).sum() < 25  # chi-square of 4 degrees of freedom


# ------------------------------------------------------------------------------------------- averages, decay, restarts


def debiased_averages(codebook, batches, decay):
    """float64: the codebook after every batch, Σ decay^(t−s)·sums_s / Σ decay^(t−s)·counts_s."""
    size = len(codebook)
    codebook, counts, sums = np.float64(codebook), [], []
    for batch in batches:
        chosen = np.eye(size)[nearest(batch, codebook).ravel()]
        counts.append(chosen.sum(0))
        sums.append(chosen.T @ np.float64(batch).reshape(-1, batch.shape[-1]))
        weights = decay ** np.arange(len(counts))[::-1]
        count, total = np.tensordot(weights, counts, 1), np.tensordot(weights, sums, 1)
        codebook = np.where(count[:, None] > 0, total / np.maximum(count, 1e-300)[:, None], codebook)
        yield codebook


def test_codes_are_unbiased_moving_averages_of_the_outputs_that_chose_them():
    start = codes_at(1)
    start[3] = 50.0  # too far away for any output
    quantiser, batches = Quantiser(start, ema_decay=0.8), [outputs(seed) for seed in range(7)]
    for batch, expected in zip(batches, debiased_averages(start, batches, 0.8), strict=True):
        quantiser.step(batch, optimised=quantiser.params["codebook"] * 0.5)  # as weight decay would
        np.testing.assert_allclose(quantiser.codebook, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(quantiser.codebook[3], start[3])
    assert np.abs(quantiser.codebook[:3] - start[:3]).max() > 0.1


def test_a_code_that_is_no_longer_used_stays_where_its_outputs_were():
    near, far = outputs(0, dim=2) * 0.1, outputs(1, dim=2) * 0.1 + 8.0
    quantiser = Quantiser([[0.0, 0.0], [7.0, 7.0]], ema_decay=0.5)
    quantiser.step(np.concatenate([near[:3], far[:3]]))
    for _ in range(40):  # its use has fallen to 2⁻⁴⁰
        quantiser.step(near)
    np.testing.assert_allclose(quantiser.codebook[1], far[:3].mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(quantiser.codebook[0], near.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)


def test_codes_that_follow_gradients_are_the_optimisers():
    quantiser, moved = Quantiser(codes_at(1)), codes_at(2)
    assert quantiser.stats == {}
    params, stats = quantiser.module.after_update(quantiser.params, quantiser.params | {"codebook": moved}, {})
    np.testing.assert_array_equal(params["codebook"], moved)
    assert stats == {}


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_unused_codes_restart_at_outputs_of_the_batch_and_used_ones_do_not(ema_decay):
    start = codes_at(1)
    start[[1, 4]] = 50.0
    quantiser, z_e = Quantiser(start, ema_decay=ema_decay, restart_below=0.1), outputs(2)
    used = np.setdiff1d(np.arange(5), [1, 4])
    assert set(nearest(z_e, start).ravel()) == set(used)
    moved = start + 0.01  # by the optimiser
    quantiser.step(z_e, optimised=jnp.asarray(moved))
    for code in (1, 4):
        assert (quantiser.codebook[code] == z_e.reshape(-1, 4)).all(-1).any()
    expected = moved if ema_decay is None else next(debiased_averages(start, [z_e], 0.9))
    np.testing.assert_allclose(quantiser.codebook[used], expected[used], rtol=1e-5)
    # A restarted code has time to find its outputs.
    restarted = quantiser.codebook
    quantiser.step(np.full_like(z_e, 1.0) * restarted[used[0]])
    if ema_decay is None:
        np.testing.assert_array_equal(quantiser.codebook, restarted)
    np.testing.assert_allclose(quantiser.codebook[[1, 4]], restarted[[1, 4]], rtol=1e-5)


def test_a_code_restarts_when_its_moving_share_falls_below_the_threshold():
    near, far = outputs(0, dim=2) * 0.1, outputs(1, dim=2) * 0.1 + 8.0
    quantiser = Quantiser([[0.0, 0.0], [7.0, 7.0]], ema_decay=0.5, restart_below=0.1)
    quantiser.step(np.concatenate([near[:3], far[:3]]))
    use, weight = 0.5, 0.5  # half of the outputs are a fair use, 1
    for _ in range(10):
        quantiser.step(near)
        use, weight = 0.5 * use, 0.5 * weight + 0.5
        if use < 0.1 * weight:
            break
        assert quantiser.codebook[1].min() > 7
    assert quantiser.codebook[1].max() < 1
    assert weight > 0.9  # it took a few steps


def test_restarts_depend_on_the_key_alone():
    start = np.full((5, 4), 50.0)
    start[0] = 0.0

    def restarted(keys):
        quantiser = Quantiser(start, restart_below=0.1)
        variables = {"params": quantiser.params, "batch_stats": quantiser.stats}
        _, updates = quantiser._train(variables, outputs(2), keys)
        return quantiser.module.after_update(quantiser.params, quantiser.params, updates["batch_stats"])[0]["codebook"]

    other = image_keys(jax.random.key(9), 6)
    np.testing.assert_array_equal(restarted(KEYS), restarted(KEYS))
    assert np.abs(restarted(KEYS) - restarted(other)).max() > 0.1


def test_evaluation_changes_no_statistics():
    quantiser = Quantiser(codes_at(1), ema_decay=0.9, restart_below=0.1)
    quantiser.step(outputs(0))
    _, updates = quantiser(outputs(1))
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], quantiser.stats)
    quantiser.module.apply({"params": quantiser.params, "batch_stats": quantiser.stats}, outputs(1))  # all immutable


# ---------------------------------------------------------------------------------------------------------- gradients


PARTS = ("encoder", "projection", "codebook", "decoder", "conditional_decoder")


class Gradients:
    """A small model whose loss terms can be pulled back one by one."""

    def __init__(self, **overrides):
        config = small_config(
            "multi_decoder", latent="vq", model__hidden_dims=(4,), model__residual_layers=0,
            model__normalization="none", conditioning__grid_stride=2, **overrides
        )  # fmt: skip
        shape = (6, 6, 1)
        model = build_model(resolve(config, shape), shape, axis_name=None)
        self.variables = init_variables(model, jax.random.key(0), shape)
        images = jnp.asarray(np.random.default_rng(0).uniform(size=(6, *shape)), jnp.float32)
        m = condition(images, jnp.broadcast_to(exact_grid_mask(6, 6, 2), (6, 6, 6, 1)))
        others = {name: value for name, value in self.variables.items() if name != "params"}

        def errors(reconstructions):
            return sum(jnp.mean((images - x) ** 2) for x in reconstructions)

        def terms(params):
            variables = {"params": params} | others
            output, _ = model.apply(variables, images, m, KEYS, train=True, mutable=["batch_stats"])
            terms = {name: jnp.mean(output.latent.terms[name]) for name in ("codebook", "commitment")}
            return terms | {"reconstruction": errors(output[:2])}

        def unquantised(params):
            """The gradient of the errors at the codes' place, and from there back as if they were the outputs."""
            variables = {"params": params} | others
            z_q = model.apply(variables, model.apply(variables, images, method="encode").posterior, method="embed")
            at_codes = jax.grad(lambda z: errors(model.apply(variables, z, m, method="decode")))(z_q)
            _, pull_back = jax.vjp(
                lambda params: model.apply({"params": params} | others, images, method="encoder_outputs"), params
            )
            return pull_back(at_codes)[0]

        @jax.jit
        def pulled_back(params, cotangent):
            values, pull_back = jax.vjp(terms, params)
            zeros = dict.fromkeys(values, 0.0)
            return {name: pull_back(zeros | {name: cotangent})[0] for name in values}

        self.of = lambda cotangent: pulled_back(self.variables["params"], cotangent)
        self.unquantised = jax.jit(unquantised)
        self.model = model

    @staticmethod
    def by_part(gradients):
        return gradients["latent"] | {name: part for name, part in gradients.items() if name != "latent"}


@pytest.fixture(scope="module", params=[None, 0.9], ids=["gradient", "ema"])
def gradients(request):
    return request.param, Gradients(model__codebook_ema=request.param)


def test_each_term_reaches_exactly_the_parameters_that_it_should(gradients):
    """NaN times a zero slope is NaN: sent back, it arrives wherever a path leads, and only there."""
    ema_decay, small = gradients
    expected = {
        "reconstruction": {"encoder", "projection", "decoder", "conditional_decoder"},
        "codebook": {"codebook"} if ema_decay is None else set(),
        "commitment": {"encoder", "projection"},
    }
    nan, one = small.of(jnp.nan), small.of(1.0)
    for term, parts in expected.items():
        poisoned, found = small.by_part(nan[term]), small.by_part(one[term])
        assert set(poisoned) == set(PARTS)
        for part in PARTS:
            reached = [bool(jnp.isnan(leaf).any()) for leaf in jax.tree.leaves(poisoned[part])]
            assert set(reached) == {part in parts}, (term, part)
            sizes = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(found[part])]
            if part in parts:
                assert min(sizes) > 0, (term, part)
            else:
                assert max(sizes) == 0, (term, part)


def test_reconstruction_has_the_gradient_of_a_model_without_quantisation(gradients):
    _, small = gradients
    found, expected = small.of(1.0)["reconstruction"], small.unquantised(small.variables["params"])
    for part in ("encoder", "projection"):
        a, b = (small.by_part(tree)[part] for tree in (found, expected))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), a, b)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(b)) > 1e-5


def test_only_chosen_codes_get_a_gradient():
    small = Gradients()
    output = small.model.apply(small.variables, jnp.zeros((6, 6, 6, 1)), KEYS, method="encode")
    chosen = np.unique(output.posterior)
    assert len(chosen) < 16
    moved = jnp.isnan(small.of(jnp.nan)["codebook"]["latent"]["codebook"]).any(-1)
    assert 0 < moved.sum() < 16


# ------------------------------------------------------------------------------------------------------ where it starts


def test_the_codebook_starts_at_outputs_of_the_encoder(digits):
    images = digits[:, ::4, ::4]
    config = resolve(
        small_config(
            "plain", latent="vq", model__normalization="none", model__residual_layers=0, train__ema_decay=0.9
        ),
        (7, 7, 1),
    )
    model = build_model(config, (7, 7, 1))
    objective = Objective(model, config, (7, 7, 1))
    before = init_state(objective, make_optimizer(config.train, 1))
    after = start_from_data(objective, images)(before)
    codebook = np.asarray(after.params["latent"]["codebook"])
    encode = jax.jit(lambda variables, x: model.apply(variables, x, method="encoder_outputs"))
    z_e = np.asarray(encode(before.eval_variables, images / np.float32(255))).reshape(-1, 4)
    distances = np.sqrt(((codebook[:, None] - z_e) ** 2).sum(-1)).min(1)
    np.testing.assert_allclose(distances, 0, atol=1e-5)
    assert len(np.unique(codebook.round(5), axis=0)) > 8
    np.testing.assert_array_equal(after.average["params"]["latent"]["codebook"], codebook)
    unchanged = [after.replace(params=None, average=None), before.replace(params=None, average=None)]
    jax.tree.map(np.testing.assert_array_equal, *unchanged)


@pytest.mark.parametrize("settings", [{"latent": "gaussian"}, {"latent": "vq", "model__codebook_init": "random"}])
def test_nothing_starts_at_data_unless_asked_for(settings, digits):
    config = resolve(small_config("plain", **settings), (28, 28, 1))
    assert start_from_data(Objective(build_model(config, (28, 28, 1)), config, (28, 28, 1)), digits) is None


# ----------------------------------------------------------------------------------------------------- over a split


def test_metrics_of_codes_are_those_of_the_whole_split(digits, monkeypatch):
    images, shape = digits[:61, 8:20, 8:20], (12, 12, 1)
    config = resolve(small_config("plain", latent="vq", model__residual_layers=0), shape)
    model = build_model(config, shape)
    variables = init_variables(model, jax.random.key(0), shape)
    z_e = jax.jit(lambda v, x: model.apply(v, x, method="encoder_outputs"))(variables, images / np.float32(255))
    codebook = np.asarray(z_e).reshape(-1, 4)[::5][:16] * np.linspace(1, 3, 16)[:, None]  # some of them out of the way
    variables["params"]["latent"]["codebook"] = jnp.asarray(codebook, jnp.float32)
    share = np.bincount(nearest(z_e, codebook).ravel(), minlength=16) / (61 * 9)
    used = share[share > 0]
    assert 2 < len(used) < 16
    found = []
    for batch in (61, 8):  # the second pads, and its batches use other codes each
        way = PROCESSOR._replace(images_at_once=batch)
        monkeypatch.setattr(evaluate, "backend", lambda way=way: way)
        evaluator = evaluate.Evaluator(Objective(model, config, shape))
        found.append(evaluator(replicate(variables), evaluator.place({"images": images})))
        assert found[-1]["perplexity"] == pytest.approx(np.exp(-np.sum(used * np.log(used))), rel=1e-5)
        assert found[-1]["codes_used"] == len(used) / 16
        z = np.asarray(z_e, np.float64).reshape(-1, 4)
        error = ((z - codebook[nearest(z, codebook)]) ** 2).sum() / ((z - z.mean(0)) ** 2).sum()
        assert found[-1]["quantisation_error"] == pytest.approx(error, rel=1e-4)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


# ------------------------------------------------------------------------------------------------- shapes and settings


SHAPES = [(28, 28, 1), (17, 40, 2), (1, 3, 1)]


@pytest.mark.parametrize("latent", ["gaussian", "vq"])
@pytest.mark.parametrize("merge", ["dense", "spatial"])
def test_any_image_size_kernel_and_merge_gives_images_of_that_size(latent, merge):
    settings = itertools.product([1, 2, 3, 4, 5], ["batch", "none"])
    for (kernel_size, normalization), shape in zip(settings, itertools.cycle(SHAPES), strict=False):
        config = small_config(
            "multi_decoder", latent=latent, conditioning__grid_stride=1, model__merge=merge,
            model__kernel_size=kernel_size, model__normalization=normalization,
        )  # fmt: skip
        config = resolve(config, shape)
        model = build_model(config, shape, axis_name=None)
        m = jnp.zeros((2, *shape[:2], shape[2] + 1))
        init = functools.partial(model.init_with_output, train=True)
        output, variables = jax.eval_shape(init, jax.random.key(0), m[..., 1:], m, KEYS[:2])
        assert output.reconstruction.shape == output.reconstruction_conditioned.shape == (2, *shape)
        grid = grid_size(config, shape)
        assert output.latent.z.shape == ((2, 4) if latent == "gaussian" else (2, *grid, 4))
        if latent == "vq":
            assert output.latent.posterior.shape == (2, *grid)
        assert ("batch_stats" in variables) == (normalization == "batch")
        kernel = variables["params"]["encoder"]["conv_0"]["kernel"]
        assert kernel.shape[:2] == (kernel_size, kernel_size)


def test_without_normalisation_a_step_has_no_statistics_to_keep(digits):
    shape = (7, 7, 1)
    config = resolve(small_config("plain", latent="vq", model__normalization="none"), shape)
    objective = Objective(build_model(config, shape, axis_name=None), config, shape)
    variables = jax.eval_shape(objective.init, jax.random.key(0))
    assert variables["batch_stats"] == {}
    images = {"images": digits[:6, ::4, ::4]}
    _, (batch_stats, _) = jax.eval_shape(objective.training_loss, variables["params"], {}, images, KEYS, KEYS)
    assert batch_stats == {}
    assert objective.after_update(variables["params"], variables["params"], {}) == (variables["params"], {})


@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_merging_on_the_grid_takes_few_weights(latent):
    def merge_parameters(merge):
        config = resolve(
            small_config("single_decoder", latent=latent, model__merge=merge, model__hidden_dims=(8, 16)), (28, 28, 1)
        )
        init = functools.partial(init_variables, build_model(config, (28, 28, 1)), image_shape=(28, 28, 1))
        shapes = jax.eval_shape(init, jax.random.key(0))
        return count_parameters(shapes["params"])["conditional_decoder/merge"]

    features = 16 if latent == "gaussian" else 4  # of the map that comes out, 7 × 7
    numbers = 4 if latent == "gaussian" else 7 * 7 * 4  # of z
    assert merge_parameters("dense") == (numbers + 2 * 784 + 1) * 49 * features
    convolutions = 9 * 2 * 8 + 9 * 8 * 16 + 2 * (8 + 16)  # of m, and their normalisation
    joined = 9 * (features + 16) * features + features
    z_to_grid = (numbers + 1) * 49 * features if latent == "gaussian" else 0
    assert merge_parameters("spatial") == convolutions + joined + z_to_grid


@pytest.mark.parametrize("merge", ["dense", "spatial"])
def test_at_the_start_codes_are_not_drowned_by_revealed_pixels(merge, digits):
    """Over images, the features where they meet vary by z at least as much as by m."""
    config = resolve(small_config("single_decoder", latent="vq", model__merge=merge, model__latent_dim=16), (28, 28, 1))
    model, images = build_model(config, (28, 28, 1), axis_name=None), digits[:64].astype(np.float32) / 255
    variables = init_variables(model, jax.random.key(0), (28, 28, 1))
    m = condition(images, uniform_mask(image_keys(jax.random.key(1), 64), np.full(64, 49), 28, 28))
    z, _ = model.apply(variables, images, train=True, mutable=["batch_stats"], method="encoder_outputs")

    def varies(z, m):
        def is_merge(module, _):
            return module.name == "merge"

        _, state = model.apply(
            variables, z, m, train=True, method="decode", mutable=["batch_stats", "intermediates"],
            capture_intermediates=is_merge,
        )  # fmt: skip
        (features,) = state["intermediates"]["conditional_decoder"]["merge"]["__call__"]
        return np.var(features, axis=0).mean()

    by_z = varies(z, np.repeat(m[:1], 64, axis=0))
    by_m = varies(np.repeat(z[:1], 64, axis=0), m)
    assert by_z > by_m


@pytest.mark.parametrize("merge", ["dense", "spatial"])
def test_on_the_grid_a_revealed_pixel_stays_in_its_place(merge):
    small = {"model__hidden_dims": (4,), "model__residual_layers": 0, "model__normalization": "none"}
    config = resolve(small_config("semi_conditional", latent="vq", model__merge=merge, **small), (20, 20, 1))
    model = build_model(config, (20, 20, 1), axis_name=None)
    m = np.zeros((2, 20, 20, 2), np.float32)
    m[1, 0, 0] = 1.0

    shapes = jax.eval_shape(model.init, jax.random.key(0), m[..., 1:], m)
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape, scale=0.2).astype(np.float32), shapes)
    decode = jax.jit(functools.partial(model.apply, method="decode"))
    _, decoded = decode(variables, jnp.full((2, 10, 10, 4), 0.01), m)
    change = np.abs(np.diff(decoded, axis=0))[0]
    assert change[:4, :4].max() > 1e-5
    assert (change[14:, 14:].max() > 1e-6) == (merge == "dense")


def test_every_method_of_a_quantised_model_has_its_decoders_on_the_grid():
    for method in METHODS:
        config = resolve(small_config(method, latent="vq"), (28, 28, 1))
        init = functools.partial(init_variables, build_model(config, (28, 28, 1)), image_shape=(28, 28, 1))
        params = jax.eval_shape(init, jax.random.key(0))["params"]
        assert ("decoder" in params) == METHODS[method].decoder
        if METHODS[method].decoder:
            assert "merge" not in params["decoder"]  # codes are a map already (thesis 3.2.3)
        if METHODS[method].conditional_decoder:
            merge = params["conditional_decoder"]["merge"]
            assert merge["z"]["kernel"].shape == (49 * 4, 49 * 4)
            assert merge["m"]["kernel"].shape == (2 * 784, 49 * 4)
