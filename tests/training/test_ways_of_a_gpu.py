"""What GPUs compute otherwise, run on a processor: the same, up to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtvae_jax.conditioning import gaussian_mask, uniform_mask
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective
from mtvae_jax.ops import backend
from mtvae_jax.process.devices import first_copy, replicate
from mtvae_jax.training import step
from mtvae_jax.training.optimizer import make_optimizer
from mtvae_jax.training.packing import Packing
from mtvae_jax.training.step import TrainingProgram, init_state, steps_at_once


@pytest.fixture
def as_a_gpu(monkeypatch):
    """A function after whose call programs are traced by a GPU's ways, with so many steps at once."""

    def set_ways(steps_at_once=128):
        jax.clear_caches()
        ways = backend.GPU._replace(options={}, steps_at_once=steps_at_once)
        monkeypatch.setitem(backend._BACKENDS, jax.default_backend(), ways)

    yield set_ways
    jax.clear_caches()


def trained(config, images, num_steps, replicas=None):
    """The state after so many steps, host arrays."""
    objective = Objective(build_model(config, images.shape[1:]), config, images.shape[1:])
    state = init_state(objective, make_optimizer(config.train, len(images) // config.train.batch_size))
    state, knobs = jax.device_get(state), objective.knobs
    if replicas is not None:
        state, knobs = (jax.tree.map(lambda leaf: np.stack([leaf] * replicas), tree) for tree in (state, knobs))
    state, knobs = replicate(state), replicate(knobs)
    program = TrainingProgram(objective, state, knobs, {"images": images}, replicates=replicas is not None)
    return first_copy(program(state, num_steps))


def assert_close(got, want):
    """Arrays as wholes: AdamW makes steps of one size of all gradients, be they rounding alone."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        difference = np.linalg.norm(np.float64(a) - np.float64(b))
        assert difference <= 1e-2 * np.linalg.norm(b) + 1e-3 * np.sqrt(np.size(b))


@pytest.mark.parametrize(
    ("latent", "method", "settings", "steps", "at_once"),
    [
        ("gaussian", "multi_decoder", {"train__ema_decay": 0.9, "train__clip_norm": 1.0}, 5, 3),
        # Rounding soon decides between two codes that are equally near
        ("vq", "single_decoder", {"conditioning__sampling": "gaussian", "model__codebook_restart": 0.1}, 1, 1),
    ],
)
def test_training_comes_to_the_same(latent, method, settings, steps, at_once, make_run, digits, as_a_gpu):
    """By a program of some steps, and one of any number for those that are left; alone, and as two replicas."""
    config = make_run(method, latent, **settings)
    want = trained(config, digits[:160], steps)
    as_a_gpu(steps_at_once=at_once)
    got = trained(config, digits[:160], steps)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert_close(got, want)
    together = trained(config, digits[:160], steps, replicas=2)
    for row in range(2):
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], together), want)


def test_masks_are_the_same_to_the_pixel(as_a_gpu):
    key, counts = jax.random.key(3), jnp.array([0, 1, 5, 30, 34, 35])

    def masks():
        yield np.asarray(uniform_mask(key, counts, 5, 7))
        for replacement in (True, False):
            yield np.asarray(gaussian_mask(key, counts, 5, 7, 0.2, replacement=replacement))

    want = list(masks())
    as_a_gpu()
    for got, expected in zip(masks(), want, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_of_equal_values_the_first_are_the_smallest(as_a_gpu):
    from mtvae_jax.ops.selection import mark_smallest

    as_a_gpu()
    values = jnp.array([[2, 1, 1, 1, 0], [7, 7, 7, 7, 7]], jnp.uint32)
    expected = [[False, True, True, False, True], [True, True, False, False, False]]
    np.testing.assert_array_equal(mark_smallest(values, jnp.array([3, 2])), expected)


@pytest.mark.parametrize(("steps", "expected"), [(35, 35), (128, 128), (421, 105), (351, 117), (1271, 41)])
def test_few_steps_of_an_epoch_are_left_to_another_program(steps, expected, as_a_gpu):
    assert steps_at_once(steps) is None
    as_a_gpu()
    assert steps_at_once(steps) == expected
    assert steps % steps_at_once(steps) <= 1


def test_a_tree_comes_back_from_its_packed_form():
    tree = {"a": jnp.arange(3.0), "b": [jnp.ones((2, 2)), jnp.float32(7)], "n": jnp.int32(4)}
    packing = Packing(tree)
    packed = packing.pack(tree)
    np.testing.assert_array_equal(packed.vector, [0, 1, 2, 7])
    for got, want in zip(jax.tree.leaves(packing.unpack(packed)), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype
    moments = (jnp.zeros(()), tree, {"of": tree})
    assert isinstance(packing.pack_within(moments)[1], tuple)
    restored = packing.unpack_within(packing.pack_within(moments))
    assert jax.tree.structure(restored) == jax.tree.structure(moments)


def test_a_users_own_option_of_xla_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_exclude_nondeterministic_ops=false --xla_other=1")
    assert step.environment.compiler_options(backend.GPU.options) == {}
    monkeypatch.setenv("XLA_FLAGS", "--xla_other=1")
    assert step.environment.compiler_options(backend.GPU.options) == backend.GPU.options
