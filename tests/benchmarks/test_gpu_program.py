"""What a GPU would be asked to run: the project's programs without what it runs badly, and the tool that sees it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks.gpu_program import hlo, programs, stablehlo
from benchmarks.gpu_program.programs import lower, on_a_gpu
from benchmarks.models import Model, thesis_model
from mtvae_jax.ops.convolution import conv2d, conv2d_transpose

RECORDED = json.loads((Path(programs.__file__).parent / "recorded.json").read_text())
SHAPE = (28, 28, 1)
_LABELS = ("NHWC", "HWIO", "NHWC")
FEW = {"model__hidden_dims": (8, 16), "train__batch_size": 16, "prior__batch_size": 16, "prior__num_layers": 2}
FEW_CODES = FEW | {"model__residual_layers": 1, "model__residual_dim": 8, "model__codebook_size": 16}


def faults(program, config, **options):
    with on_a_gpu():
        return stablehlo.faults(lower(*program(config, SHAPE, **options)).as_text())


@pytest.mark.parametrize(
    ("program", "latent", "method", "sampling", "options"),
    [
        (programs.training, "gaussian", "multi_decoder", "exact", {}),
        (programs.training, "vq", "multi_decoder", "box", {}),
        (programs.training, "gaussian", "single_decoder", "uniform", {}),
        (programs.training, "gaussian", "single_decoder", "gaussian", {}),
        (programs.training, "gaussian", "multi_decoder", "exact", {"replicas": 3}),
        (programs.training, "vq", "single_decoder", "uniform", {"replicas": 3}),
        (programs.second_stage, "gaussian", "multi_decoder", "exact", {}),
        (programs.second_stage, "vq", "multi_decoder", "exact", {}),
        (programs.evaluation, "vq", "multi_decoder", "exact", {}),
        (programs.sampler, "vq", "multi_decoder", "exact", {"batch": 4}),
    ],
)
def test_no_program_has_what_a_gpu_runs_badly(program, latent, method, sampling, options):
    few = FEW_CODES if latent == "vq" else FEW
    config = thesis_model(latent, method, SHAPE, conditioning__sampling=sampling, **few)
    assert faults(program, config, **options) == []


def test_nor_has_the_one_for_any_few_pixels():
    config = thesis_model("gaussian", "single_decoder", SHAPE, model__merge="context", prior__joint=True, **FEW)
    assert faults(programs.training, config) == []


@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_the_step_of_a_thesis_model_asks_for_the_arithmetic_and_the_bytes_that_were_recorded(latent):
    model = Model(latent, "multi_decoder")
    with on_a_gpu():
        cost = lower(*programs.training(model.config, model.shape)).cost_analysis()
    recorded = RECORDED["asked_for"][model.full_name]
    assert cost["flops"] == pytest.approx(recorded["flops"], rel=0.1)
    assert cost["bytes accessed"] == pytest.approx(recorded["bytes"], rel=0.1)


def text(function, *shapes):
    return jax.jit(function).lower(*(jnp.zeros(shape) for shape in shapes)).as_text()


def sum_by_index(x):
    return jnp.zeros(5).at[x.astype(int)].add(x)


@pytest.mark.parametrize(
    ("function", "shapes", "fault"),
    [
        (jax.grad(lambda k, x: jnp.sum(jnp.sin(lax.conv_transpose(x, k, (2, 2), "SAME")))),
         ((3, 3, 2, 4), (1, 6, 6, 2)), "no backward filter"),
        (jax.vmap(lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=_LABELS)),
         ((2, 1, 6, 6, 3), (2, 3, 3, 3, 4)), "2 groups"),
        (lambda x: lax.fori_loop(0, x[0].astype(int), lambda i, x: x + 1, x), ((3,),), "unknown length"),
        (sum_by_index, ((3,),), "one place"),
        (lambda x: jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((3,), jnp.float32), x), ((3,),), "the host"),
    ],
)  # fmt: skip
def test_every_fault_is_seen(function, shapes, fault):
    (found,) = stablehlo.faults(text(function, *shapes))
    assert fault in found


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (jax.grad(lambda k, x: jnp.sum(jnp.sin(conv2d(x, k, stride=2, implementation="lax")))),
         ((3, 3, 2, 4), (1, 6, 6, 2))),
        (lambda x: lax.fori_loop(0, 7, lambda i, x: x + 1, x), ((3,),)),
        (lambda x: jnp.zeros(5, bool).at[x.astype(int)].max(True), ((3,),)),
    ],
)  # fmt: skip
def test_what_is_well_is_no_fault(function, shapes):
    assert stablehlo.faults(text(function, *shapes)) == []


@pytest.mark.parametrize("convolution", [
    lambda x, k: conv2d(x, k, stride=2),
    lambda x, k: conv2d_transpose(x, k.swapaxes(2, 3), stride=2, output_size=(12, 12)),
])
def test_side_by_side_the_ways_of_a_gpu_give_what_each_gives_alone(convolution):
    """Of kernels of their own, which are products of patches then, and of one for all, which is one convolution."""
    x = jax.random.normal(jax.random.key(0), (3, 2, 6, 6, 4))
    kernels = jax.random.normal(jax.random.key(1), (3, 3, 3, 4, 5))

    def loss(x, k):
        return jnp.sum(jnp.sin(convolution(x, k)))

    with on_a_gpu():
        gradient = jax.grad(loss, (0, 1))
        alone = [gradient(x[n], kernels[n]) for n in range(3)]
        together = jax.vmap(gradient)(x, kernels)
        shared = jax.vmap(gradient, (0, None))(x, kernels[0])
    for n in range(3):
        for got, want in zip(together, alone[n], strict=True):
            assert jnp.allclose(got[n], want, rtol=1e-4, atol=1e-4)
    assert jnp.allclose(shared[1][0], alone[0][1], rtol=1e-4, atol=1e-4)


PROGRAM = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %conv = (f32[8]{0}, u8[0]{0}) custom-call(%x, %x), custom_call_target="__cudnn$convBackwardFilter"
  %reduce_fusion = f32[8]{0} fusion(%x), kind=kInput, calls=%f, metadata={op_name="jit(f)/norm_0/norm/reduce_sum"}
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %reduce_fusion)
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %c = f32[8]{0} copy(%a)
  %w = (s32[], f32[8]{0}) while(%t), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %r = f32[8]{0} get-tuple-element(%w), index=1
}
"""


def test_launches_are_counted_by_hand():
    report = hlo.report(PROGRAM)
    assert (report["launches"], report["before"], report["unknown_loops"]) == (2, 1, 0)
    assert report["convolutions"] == {"backward filter": 1}
    assert report["parts"] == {"convolutions": 1, "normalisation, sums": 1}
    assert hlo.report(PROGRAM.replace("known_trip_count", "unknown"))["unknown_loops"] == 1


@pytest.mark.gpu_compile
@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_a_compiled_step_launches_as_much_as_was_recorded(latent):
    pytest.importorskip("jax_plugins.xla_cuda13")
    if jax.config.jax_platforms != "cpu":
        pytest.skip("JAX_PLATFORMS=cpu, or CUDA's plugin looks for a driver")
    from benchmarks.gpu_program.__main__ import compile_for

    model = Model(latent, "multi_decoder")
    recorded = RECORDED["programs"]["h100"][f"training, {model.full_name}"]
    assert compile_for("h100", "training", model)["launches"] == pytest.approx(recorded["launches"], rel=0.05)
