"""Whatever a trained model is asked for, it refuses in one line that names the argument, or answers with images."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fuzz.values import anything, in_two_lengths, refused
from hypothesis import strategies as st
from small_runs import small_config

import mtvae_jax
from mtvae_jax.config import resolve
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.prior_objective import PriorObjective

SHAPE = (8, 8, 1)
KEY = jax.random.key(0)
MODELS = (
    ("gaussian", "plain"), ("gaussian", "multi_decoder"), ("gaussian", "semi_conditional"), ("vq", "single_decoder")
)  # fmt: skip


@functools.lru_cache
def untrained(latent, method):
    classes = 3 if latent == "vq" else 0
    config = small_config(method, latent=latent, prior__class_conditional=bool(classes), conditioning__grid_stride=2)
    config = resolve(config, SHAPE)
    variables = init_variables(build_model(config, SHAPE), KEY, SHAPE)
    prior = None
    if method != "plain":
        prior = LearnedPrior(config, SHAPE, classes)
        prior = prior.with_variables(PriorObjective.of(prior).init(KEY))
    return Model(config, SHAPE, variables, prior=prior)


@pytest.fixture(scope="module", autouse=True)
def _forget_models():
    yield
    untrained.cache_clear()


GOOD = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
IMAGES = st.one_of(
    st.sampled_from((GOOD, GOOD[:1], GOOD / 255.0, GOOD / np.float32(255), jnp.asarray(GOOD), GOOD.tolist())),
    st.sampled_from((
        GOOD[:0], GOOD[0], GOOD[..., 0], GOOD[:, :7], np.repeat(GOOD, 3, axis=3), GOOD.astype(int), GOOD.astype(bool),
        GOOD.astype(float), GOOD * np.nan, GOOD / 255j, GOOD.astype(object), GOOD.astype(str), -(GOOD / 255.0),
        jnp.asarray(GOOD / 255, jnp.bfloat16), [[1, 2], [3]], "images.npy", KEY, None,
    )),
    anything,
)  # fmt: skip
MASK = np.arange(64).reshape(8, 8, 1) % 3 == 0
MASKS = st.one_of(
    st.none(),
    st.sampled_from((MASK, MASK.astype(np.float32), np.stack([MASK] * 3), jnp.asarray(MASK), MASK[None])),
    st.sampled_from((
        MASK[..., 0], MASK[:7], MASK * 0.5, MASK * np.nan, MASK * 2, ~MASK * -1, MASK.astype(str), MASK.astype(object),
        MASK * 1j, np.full((8, 8, 1), None), np.broadcast_to(MASK, (4, 8, 8, 1)), [[True], []],
    )),
    anything,
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from((None, KEY, jax.random.key(2**32 - 1))),
    st.sampled_from((0, jax.random.PRNGKey(0), jax.random.split(KEY, 3), np.zeros(2, np.uint32), "key")),
    anything,
)
COUNTS = st.one_of(st.sampled_from((1, 3, 3, np.int64(3), True, 3.0, "3")), st.integers(-3, 3), anything)
LABELS = st.one_of(
    st.none(),
    st.sampled_from(([0, 1, 2], np.array([2]), np.arange(3, dtype=np.uint8))),
    st.sampled_from(([0, 3, 1], [-1, 0, 0], [0.0] * 3, [True] * 3, [[0, 1, 2]])),
    anything,
)
PRIORS = st.one_of(st.none(), st.sampled_from(("conditional", "unconditional", "untrained", "learned")), anything)

CALLS = st.one_of(
    st.tuples(st.just("encode"), st.fixed_dictionaries({"images": IMAGES}, optional={"key": KEYS})),
    st.tuples(st.just("posterior"), st.fixed_dictionaries({"images": IMAGES})),
    st.tuples(
        st.just("reconstruct"),
        st.fixed_dictionaries({"images": IMAGES}, optional={"mask": MASKS, "num_samples": COUNTS, "key": KEYS}),
    ),
    st.tuples(
        st.just("sample"),
        st.fixed_dictionaries(
            {"n": COUNTS, "key": KEYS},
            optional={"images": IMAGES, "mask": MASKS, "labels": LABELS, "prior": PRIORS},
        ),
    ),
)


def a_call(which, call):
    method, arguments = call
    model = untrained(*which)
    found, message = refused(lambda: getattr(model, method)(**arguments))
    if message is not None:
        assert any(name in message for name in arguments) or message.startswith(("mask", "key")), message
        return
    assert np.isfinite(found).all()
    # A count that was taken is the count of what came
    images = arguments.get("images")
    if method == "sample":
        assert found.shape == (arguments["n"], *(() if images is None else (len(images),)), *SHAPE)
    elif method == "reconstruct":
        draws = arguments.get("num_samples", 1)
        assert found.shape == (*(() if draws == 1 else (draws,)), len(images), *SHAPE)
    else:
        assert len(found) == len(images)


test_a_model_refuses_or_answers, test_a_model_refuses_or_answers_at_length = in_two_lengths(
    a_call, short=100, long=2000, which=st.sampled_from(MODELS), call=CALLS
)


def a_load(arguments):
    _, message = refused(lambda: mtvae_jax.load(**arguments))
    assert message is not None  # there is no run anywhere
    assert any(word in message for word in ("workdir = ", "which = ", "prior = ", "config.json: ")), message


test_what_is_no_run_is_refused, test_what_is_no_run_is_refused_at_length = in_two_lengths(
    a_load,
    short=40,
    long=1000,
    arguments=st.fixed_dictionaries(
        {"workdir": st.one_of(st.sampled_from(("nowhere", os.devnull, ".", os.path.dirname(__file__))), anything)},
        optional={
            "which": st.one_of(st.sampled_from(("best", "latest", "last")), anything),
            "prior": st.one_of(st.booleans(), anything),
        },
    ),
)
