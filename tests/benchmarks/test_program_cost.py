"""The cost of a step against one worked out by hand."""

import itertools
from types import SimpleNamespace

import jax
import pytest

from benchmarks.models import thesis_model
from benchmarks.program_cost import bytes_per_image, convolutions_of_xla, step_flops, steps_and_arguments
from mtvae_jax.models.layers import stride_two_sizes

SHAPE = (28, 28, 1)


def taps_inside(size, taps):
    """How many taps of a convolution of stride 2 with SAME padding meet a pixel, not the padding, along one axis."""
    outputs = -(-size // 2)
    before = max((outputs - 1) * 2 + taps - size, 0) // 2
    return sum(0 <= 2 * output + tap - before < size for output, tap in itertools.product(range(outputs), range(taps)))


def multiply_adds(hidden_dims, latent_dim):
    """Of a plain Gaussian VAE, forwards, an image: {"first": of the layer that sees the image, "others"}."""
    sizes = [size for size, _ in stride_two_sizes(*SHAPE[:2], len(hidden_dims))]
    widths = [SHAPE[2], *hidden_dims]
    encoder, wider_taps = (
        [taps_inside(sizes[n], taps) ** 2 * widths[n] * widths[n + 1] for n in range(len(hidden_dims))]
        for taps in (3, 4)
    )
    decoder = [wider_taps[0], *encoder[1:]]  # the same layers backwards, but for the last
    features = sizes[-1] ** 2 * hidden_dims[-1]
    dense = features * 2 * latent_dim + latent_dim * features
    return {"first": encoder[0], "others": sum(encoder[1:]) + sum(decoder) + dense}


def test_flops_of_a_plain_gaussian_model_are_those_counted_by_hand():
    config = thesis_model("gaussian", "plain", SHAPE)
    counted = multiply_adds(config.model.hidden_dims, config.model.latent_dim)
    # Backwards every layer has two products of the size of its forward one; nobody asks for the gradient of an image.
    products = 2 * (2 * counted["first"] + 3 * counted["others"])
    flops = step_flops(config, SHAPE)
    # The rest is batch normalisation, activations and the optimiser: some operations an activation and a parameter.
    assert products < flops < 1.08 * products


def test_the_step_counted_is_the_step_that_trains():
    config = thesis_model("vq", "single_decoder", SHAPE, model__codebook_ema=0.9, train__batch_size=16)
    with convolutions_of_xla():
        train_steps, arguments = steps_and_arguments(config, SHAPE)
        program = train_steps.lower(*arguments).cost_analysis()["flops"]
    # Beside it the program shuffles, gathers and sums up metrics.
    assert step_flops(config, SHAPE) * 16 == pytest.approx(program, rel=0.01 if jax.device_count() == 1 else 1.0)


def test_flops_do_not_depend_on_how_a_device_convolves():
    config = thesis_model("gaussian", "plain", SHAPE)
    before = step_flops(config, SHAPE)
    with convolutions_of_xla():
        assert step_flops(config, SHAPE) == before


@pytest.mark.parametrize(
    ("cost", "text", "expected"),
    [
        ({"bytes accessed": 640.0}, "z = f32[8] add(x, y)", 5.0),
        ({"bytes accessed": 640.0}, 'y = (f32[8], u8[0]) custom-call(x), custom_call_target="__cudnn$conv"', None),
        ({"bytes accessed": float("nan")}, "", None),
        (None, "", None),
    ],
)
def test_bytes_are_unknown_where_xla_does_not_count_them_all(cost, text, expected):
    compiled = SimpleNamespace(cost_analysis=lambda: cost, as_text=lambda: text)
    assert bytes_per_image(compiled, thesis_model("gaussian", "plain", SHAPE)) == expected
