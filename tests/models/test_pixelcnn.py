"""The Gated PixelCNN against masked convolutions in NumPy, its own Jacobian and exact joint distributions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtvae_jax.models.pixelcnn import GatedPixelCNN
from mtvae_jax.models.pixelcnn.layer import GatedLayer


def make(size, batch=2, context_features=0, seed=0, **kwargs):
    """A network with predictions that are far from uniform, random codes and the conditions: (model, variables, codes,
    conditions), conditions as keyword arguments.
    """
    model = GatedPixelCNN(**{"num_codes": 5, "hidden_dim": 8, "num_layers": 3, "first_kernel_size": 3} | kwargs)
    random = np.random.default_rng(seed)
    codes = jnp.asarray(random.integers(0, model.num_codes, (batch, *size)))
    conditions = {}
    if context_features:
        conditions["context"] = jnp.asarray(random.normal(size=(batch, *size, context_features)), jnp.float32)
    if model.num_classes:
        conditions["labels"] = jnp.asarray(random.integers(0, model.num_classes, batch))
    return model, random_variables(lambda: model.init(jax.random.key(0), codes, **conditions), seed), codes, conditions


def random_variables(init, seed=0):
    """Parameters for what `init` describes: normal, of the size that keeps features near 1; biases are none of them 0.

    Drawn by NumPy, because initialisers take ten times as long to compile as all the rest.
    """
    random = np.random.default_rng(seed)

    def draw(leaf):
        fan_in = max(np.prod(leaf.shape[:-1]), 4)
        return jnp.asarray(1.5 * random.normal(size=leaf.shape) / np.sqrt(fan_in), jnp.float32)

    return jax.tree.map(draw, jax.eval_shape(init))


def keys(batch, seed=0):
    return jax.random.split(jax.random.key(seed), batch)


def sampler(model, size, method="sample"):
    @jax.jit
    def draw(variables, keys, conditions, temperature=1.0):
        return model.apply(variables, keys, size, **conditions, temperature=temperature, method=method)

    return draw


def log_likelihood(model, variables, codes, **conditions):
    """log p of every grid, float [B]."""
    logits = jax.jit(model.apply)(variables, codes, **conditions)
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    return np.take_along_axis(log_p, np.asarray(codes)[..., None], -1).sum((1, 2, 3))


def all_grids(size, num_codes):
    """Every grid of codes once, int [K^(h·w), h, w]; the first position changes slowest."""
    grids = itertools.product(range(num_codes), repeat=size[0] * size[1])
    return jnp.asarray(list(grids)).reshape(-1, *size)


# ------------------------------------------------------------------------------------------------------------ causality


@pytest.mark.parametrize(
    ("size", "kernel_size", "first_kernel_size", "num_layers", "context_features"),
    [
        ((4, 6), 3, 7, 3, 0),
        ((5, 3), 3, 3, 5, 3),
        ((3, 5), 5, 5, 2, 3),
        ((3, 6), 5, 3, 3, 0),
        ((3, 3), 1, 5, 3, 0),
        ((1, 5), 3, 3, 4, 3),
    ],
)
def test_logits_see_all_that_came_before_and_nothing_else(
    size, kernel_size, first_kernel_size, num_layers, context_features
):
    """The Jacobian with respect to the embedded codes: exactly zero, or not zero at all."""
    model, variables, codes, conditions = make(
        size,
        1,
        context_features,
        kernel_size=kernel_size,
        first_kernel_size=first_kernel_size,
        num_layers=num_layers,
        hidden_dim=4,
    )
    # No rectifier shall cut a path by chance.
    variables["params"][f"layers_{num_layers - 1}"]["out"]["bias"] += 20.0
    variables["params"]["hidden"]["bias"] += 100.0
    embedded = model.apply(variables, codes, method="embed")

    def logits(embedded):
        return model.apply(variables, embedded, **conditions, method="from_embeddings")[0]

    influence = np.abs(jax.jit(jax.jacrev(logits))(embedded)[:, :, :, 0]).max((2, 5))  # [h, w, h, w]
    height, width = size
    num = height * width
    earlier = np.tri(num, num, -1, dtype=bool).reshape(height, width, height, width)
    rows, columns = (
        np.abs(np.subtract.outer(np.arange(n), np.arange(n))) for n in size
    )  # distances [h, h] and [w, w]
    sees = first_kernel_size // 2 + (num_layers - 1) * (kernel_size // 2)  # besides the one step of the mask
    if kernel_size > 1:
        assert sees >= max(height, width) - 1  # the whole grid
    own_row, row_above = rows == 0, (rows > 0) & (rows <= sees + 1)
    reached = own_row[:, None, :, None] & (columns <= sees + 1)[None, :, None, :]
    reached |= row_above[:, None, :, None] & (columns <= sees)[None, :, None, :]
    np.testing.assert_array_equal(influence > 0, earlier & reached)


def test_context_reaches_every_position_it_lies_at_or_before():
    """It is given, so a position sees its own; from others it hears through what it sees of their codes' features."""
    model, variables, codes, conditions = make((3, 4), 1, context_features=2, num_layers=4)

    def logits(context):
        return model.apply(variables, codes, context)[0]

    influence = np.abs(jax.jit(jax.jacrev(logits))(conditions["context"])[:, :, :, 0]).max((2, 5))
    assert np.all(influence.reshape(12, 12)[np.tri(12, dtype=bool)] > 0)


# ---------------------------------------------------------------------------------------------------------- likelihoods


@pytest.mark.parametrize(("size", "num_codes", "num_classes"), [((2, 2), 3, 0), ((2, 3), 2, 2), ((3, 1), 4, 2)])
def test_likelihoods_of_all_grids_sum_to_one(size, num_codes, num_classes):
    model, variables, _, _ = make(size, num_codes=num_codes, num_classes=num_classes)
    grids = all_grids(size, num_codes)
    conditions = {"labels": jnp.ones(len(grids), int)} if num_classes else {}
    likelihoods = np.exp(log_likelihood(model, variables, grids, **conditions))
    np.testing.assert_allclose(likelihoods.sum(), 1.0, rtol=1e-5)
    assert likelihoods.max() > 3 / len(grids)  # not the uniform distribution, of which all of this would hold


def test_first_predictions_are_near_uniform():
    model = GatedPixelCNN(num_codes=128, num_layers=2, hidden_dim=32)
    codes = jax.random.randint(jax.random.key(1), (4, 6, 6), 0, 128)
    logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), codes)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, codes).mean()
    assert 0 < logits.std() < 0.3
    np.testing.assert_allclose(loss, np.log(128), rtol=0.02)


# ------------------------------------------------------------------------------------------------------------- samplers


@pytest.mark.parametrize(
    ("size", "settings", "temperatures"),
    [
        ((4, 5), {}, [1.0, 0.0, 3.0]),
        ((5, 3), {"context_features": 3, "num_classes": 4, "first_kernel_size": 7}, [1.0, 0.7]),
        ((3, 4), {"kernel_size": 5, "first_kernel_size": 1, "context_features": 2}, [1.0]),
        ((1, 6), {"num_layers": 1, "num_classes": 2}, [1.0]),
        ((4, 1), {"kernel_size": 1, "batch": 1}, [1.0]),
    ],
)
def test_both_samplers_draw_the_same_codes(size, settings, temperatures):
    model, variables, _, conditions = make(size, **{"batch": 3} | settings)
    batch = settings.get("batch", 3)
    draws = [sampler(model, size, method) for method in ("sample", "sample_plain")]
    for temperature in temperatures:  # traced: one program for all
        codes, plain = (draw(variables, keys(batch), conditions, temperature) for draw in draws)
        assert codes.shape == (batch, *size)
        assert codes.dtype == plain.dtype == jnp.int32
        np.testing.assert_array_equal(codes, plain)


@pytest.mark.parametrize("method", ["sample", "sample_plain"])
def test_a_sample_depends_on_its_own_key_and_conditions_alone(method):
    size = (3, 4)
    model, variables, _, conditions = make(size, 6, context_features=2, num_classes=3)
    draw = sampler(model, size, method)
    whole = draw(variables, keys(6), conditions)
    for part in (slice(0, 2), slice(2, 6)):
        alone = draw(variables, keys(6)[part], {name: value[part] for name, value in conditions.items()})
        np.testing.assert_array_equal(whole[part], alone)
    assert len({codes.tobytes() for codes in np.asarray(whole)}) == 6


@pytest.mark.parametrize(("size", "num_codes", "temperature"), [((1, 2), 3, 1.0), ((2, 2), 2, 1.0), ((2, 1), 3, 2.5)])
def test_samples_follow_the_models_distribution(size, num_codes, temperature):
    """Counts of every grid among 4000 samples against its exact probability."""
    num_samples = 4000
    model, variables, _, _ = make(size, num_codes=num_codes, seed=3)
    samples = np.asarray(sampler(model, size)(variables, keys(num_samples), {}, temperature)).reshape(num_samples, -1)
    variables["params"]["logits"] = jax.tree.map(lambda x: x / temperature, variables["params"]["logits"])
    expected = num_samples * np.exp(log_likelihood(model, variables, all_grids(size, num_codes)))
    assert expected.max() > 1.5 * expected.min()

    counts = np.bincount(samples @ num_codes ** np.arange(samples.shape[1])[::-1], minlength=len(expected))
    chi_square = np.sum((counts - expected) ** 2 / expected)
    freedom = len(expected) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_temperature_zero_takes_the_likeliest_code_of_every_position():
    size = (3, 3)
    model, variables, _, _ = make(size)
    codes = sampler(model, size)(variables, keys(2), {}, 0.0)
    logits = jax.jit(model.apply)(variables, codes)
    np.testing.assert_array_equal(codes, logits.argmax(-1))
    np.testing.assert_array_equal(codes[0], codes[1])


# ----------------------------------------------------------------------------------------------------------- one layer


def masked_gates(inputs, kernel, centre):
    """Σ kernel · inputs by the definition: a kernel as large as the paper's, zero where it must not look.

    `kernel` [kh, kw, C, D] lies with its tap `centre` on the position itself.
    """
    height, width, _ = inputs.shape
    outputs = np.zeros((height, width, kernel.shape[3]))
    for y, x, dy, dx in itertools.product(range(height), range(width), *map(range, kernel.shape[:2])):
        row, column = y + dy - centre[0], x + dx - centre[1]
        if 0 <= row < height and 0 <= column < width:
            outputs[y, x] += inputs[row, column] @ kernel[dy, dx]
    return outputs


def gated(gates):
    a, b = np.split(gates, 2, axis=-1)
    return np.tanh(a) / (1 + np.exp(-b))


@pytest.mark.parametrize(("kernel_size", "residual", "last"), [(3, True, False), (5, False, False), (3, True, True)])
def test_a_layer_equals_masked_convolutions(kernel_size, residual, last):
    random = np.random.default_rng(kernel_size)
    above, left, context = (random.normal(size=(1, 4, 5, n)).astype(np.float32) for n in (3, 3, 2))
    labels = jnp.array([1])
    layer = GatedLayer(3, kernel_size, residual, last, num_classes=2)
    reach = kernel_size // 2

    def both_stacks(layer, above, left):
        vertical, across = layer.vertical(jnp.pad(above, ((0, 0), (reach, 0), (0, 0), (0, 0))), context, labels)
        return vertical, *layer.horizontal(jnp.pad(left, ((0, 0), (0, 0), (reach, 0), (0, 0))), across)

    variables = random_variables(lambda: layer.init(jax.random.key(0), above, left, method=both_stacks))
    got = jax.jit(lambda *args: layer.apply(*args, method=both_stacks))(variables, above, left)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    condition = context[0] @ params["context"]["kernel"] + params["label"]["kernel"][1]
    for_vertical, for_horizontal = np.split(condition, 2, -1)
    # Full kernels with a mask: no row below, and in the horizontal one no other row and no column to the right.
    vertical_kernel = np.zeros((kernel_size, kernel_size, 3, 6))
    vertical_kernel[: reach + 1] = params["vertical_kernel"]
    horizontal_kernel = np.zeros((kernel_size, kernel_size, 3, 6))
    horizontal_kernel[reach, : reach + 1] = params["horizontal_kernel"][0]

    gates = masked_gates(above[0], vertical_kernel, (reach, reach)) + params["vertical_bias"] + for_vertical
    across = gates @ params["down"]["kernel"] + params["down"]["bias"] + for_horizontal
    hidden = gated(masked_gates(left[0], horizontal_kernel, (reach, reach)) + across)
    out = hidden @ params["out"]["kernel"] + params["out"]["bias"]
    want = [gated(gates), None, out] if last else [gated(gates), out[..., :3] + residual * left[0], out[..., 3:]]
    for g, w in zip(got, want, strict=True):
        assert (g is None) == (w is None)
        if w is not None:
            np.testing.assert_allclose(g[0], w, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------ conditions, dropout, dtypes


def test_logits_depend_on_context_and_label():
    model, variables, codes, conditions = make((3, 3), context_features=2, num_classes=3)
    apply = jax.jit(model.apply)
    logits = apply(variables, codes, **conditions)
    for change in ({"context": conditions["context"] + 1}, {"labels": (conditions["labels"] + 1) % 3}):
        changed = apply(variables, codes, **conditions | change)
        assert np.all(np.abs(changed - logits).max(-1) > 1e-4)  # at every position


def test_dropout_needs_keys_and_is_each_images_own():
    model, variables, codes, _ = make((4, 4), batch=4, num_layers=1, dropout=0.5)
    without, _, _, _ = make((4, 4), batch=4, num_layers=1)
    apply = jax.jit(model.apply)
    whole = apply(variables, codes)
    np.testing.assert_array_equal(whole, jax.jit(without.apply)(variables, codes))
    dropped = apply(variables, codes, keys=keys(4))
    assert np.all(np.abs(dropped - whole).max((1, 2, 3)) > 1e-3)
    half = apply(variables, codes[2:], keys=keys(4)[2:])
    np.testing.assert_allclose(dropped[2:], half, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(jax.jit(without.apply)(variables, codes, keys=keys(4)), whole)


def test_dropout_drops_its_rate_and_scales_the_rest():
    layer = GatedLayer(4, 3, dropout=0.25)
    window = np.random.default_rng(0).normal(size=(8, 26, 25, 4)).astype(np.float32)
    variables = random_variables(lambda: layer.init(jax.random.key(0), window, method="vertical"))

    @jax.jit
    def vertical(keys=None):
        return layer.apply(variables, window, None, None, keys, method="vertical")

    (whole, across), (units, across_too) = (map(np.asarray, vertical(*args)) for args in ((), (keys(8),)))
    np.testing.assert_array_equal(across, across_too)  # before the gates: nothing dropped
    dropped = units == 0
    assert abs(dropped.mean() - 0.25) < 0.02
    np.testing.assert_allclose(units[~dropped], whole[~dropped] / 0.75, rtol=1e-5)
    assert abs(np.mean(dropped[1:] != dropped[:-1]) - 2 * 0.25 * 0.75) < 0.02  # images are independent


def test_layers_drop_independently():
    """A layer's input is what the one before it dropped from; the caches hold the last row of it."""
    model, variables, codes, _ = make((2, 50), batch=4, dropout=0.25)

    @jax.jit
    def inputs(variables, codes):
        network = model.bind(variables)
        rows = network.embed(codes)
        return network.vertical_stack(rows, network.empty_rows(rows), keys=keys(4))[1]

    _, second, third = (np.asarray(x) == 0 for x in inputs(variables, codes))
    assert abs(np.mean(second != third) - 2 * 0.25 * 0.75) < 0.05


def test_bfloat16_is_close_to_float32():
    model, variables, codes, conditions = make((4, 4), context_features=2, num_classes=3)
    narrow = model.clone(dtype=jnp.bfloat16)
    shapes = jax.eval_shape(lambda: narrow.init(jax.random.key(0), codes, **conditions))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    want = jax.jit(model.apply)(variables, codes, **conditions)
    got = jax.jit(narrow.apply)(variables, codes, **conditions)
    assert got.dtype == jnp.float32
    assert 0 < np.abs(got - want).max() < 0.05 * np.abs(want).max()
    sampled = sampler(narrow, (4, 4))(variables, keys(2), conditions)
    assert sampled.dtype == jnp.int32


@pytest.mark.parametrize(
    ("settings", "labels", "message"),
    [
        ({"kernel_size": 4}, None, "must be odd"),
        ({"first_kernel_size": 2}, None, "must be odd"),
        ({"num_classes": 3}, None, "labels: must be given exactly if there are classes; num_classes is 3"),
        ({}, np.zeros(1, int), "labels: must be given exactly if there are classes; num_classes is 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings, labels, message):
    model = GatedPixelCNN(5, **settings)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 2, 2), int), labels=labels))


# ------------------------------------------------------------------------------------------------------------- learning


def test_learns_a_pattern_and_draws_it():
    """Diagonal stripes: after the first row, of which the label says where it starts, every code follows."""
    size, period = (5, 6), 3
    labels = jnp.arange(6) % period
    y, x = jnp.meshgrid(*map(jnp.arange, size), indexing="ij")
    codes = (labels[:, None, None] + y + x) % period
    model = GatedPixelCNN(num_codes=period, hidden_dim=16, num_layers=3, first_kernel_size=3, num_classes=period)
    optimizer = optax.adam(1e-2)
    params = random_variables(lambda: model.init(jax.random.key(0), codes, labels=labels))

    def loss(params):
        logits = model.apply(params, codes, labels=labels)
        return optax.softmax_cross_entropy_with_integer_labels(logits, codes).mean()

    def step(state, _):
        params, optimizer_state = state
        value, gradients = jax.value_and_grad(loss)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(params, updates), optimizer_state), value

    (params, _), losses = jax.jit(lambda state: jax.lax.scan(step, state, length=60))((params, optimizer.init(params)))
    assert losses[0] > 0.5
    assert losses[-1] < 0.02
    np.testing.assert_array_equal(sampler(model, size)(params, keys(6), {"labels": labels}), codes)
