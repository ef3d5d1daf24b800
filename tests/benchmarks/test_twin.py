"""The PyTorch competitor is the same function, so that a comparison of speed means something."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from small_runs import small_config

from mtvae_jax.config import resolve, to_dict
from mtvae_jax.methods import METHODS

torch = pytest.importorskip("torch")
networks, port, worker = (pytest.importorskip(f"benchmarks.twin.{name}") for name in ("networks", "port", "worker"))

# Layers compute in float64, but z, losses and the gradients of parameters are float32: 3e-7 at most was measured.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Networks as small as these lose minutes to threads that wait for each other where others work too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(digits):
    return digits[:16]


def assert_same(ours, theirs):
    assert theirs.loss == pytest.approx(ours.loss, rel=TOLERANCE)
    for a, b in zip(ours.reconstructions, theirs.reconstructions, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=TOLERANCE)
    assert ours.gradients.keys() == theirs.gradients.keys()
    for path, gradient in ours.gradients.items():
        assert theirs.gradients[path].shape == gradient.shape
        assert port.relative_difference(theirs.gradients[path], gradient) < TOLERANCE, path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("latent", networks.LATENTS)
def test_loss_reconstructions_and_every_gradient_are_ours(make_run, images, latent, method):
    inputs = port.make_inputs(make_run(method, latent), images)
    ours = port.our_step(inputs)
    assert len(ours.reconstructions) == METHODS[method].num_decoders
    assert_same(ours, port.their_step(inputs))


@pytest.mark.parametrize("latent", networks.LATENTS)
def test_so_are_odd_sizes_colours_and_residual_layers(images, latent):
    """25 × 22 pixels go to 13 × 11 and 7 × 6: on each axis one padding is the same on both sides and one is not."""
    settings = {"model__kernel_size": 4, "model__residual_layers": 1, "loss__weights": (0.5, 2.0)}
    config = small_config("multi_decoder", latent=latent, **settings)
    colours = np.concatenate([images, 255 - images, images // 2], axis=3)[:, 3:, :22]
    inputs = port.make_inputs(resolve(config, colours.shape[1:]), colours)
    assert_same(port.our_step(inputs), port.their_step(inputs))


def test_many_codes_are_in_use(make_run, images):
    """Otherwise the tests above would not see whether the twin chooses the same ones."""
    inputs = port.make_inputs(make_run("plain", "vq"), images)
    gradient = port.our_step(inputs).gradients["latent/codebook"]
    assert (np.abs(gradient).max(axis=1) > 0).sum() > 10


def test_running_statistics_follow_at_our_pace(make_run, images):
    inputs = port.make_inputs(make_run("plain"), images)
    before = flatten_dict(inputs.variables["batch_stats"], sep="/")
    ours, theirs = port.our_step(inputs).statistics, port.their_step(inputs).statistics
    sides = {"encoder/norm_0": 14, "encoder/norm_1": 7, "decoder/norm_1": 14}
    assert theirs.keys() == ours.keys() == {f"{norm}/norm/{name}" for norm in sides for name in ("mean", "var")}
    for norm, side in sides.items():
        mean, variance = f"{norm}/norm/mean", f"{norm}/norm/var"
        np.testing.assert_allclose(theirs[mean], ours[mean], rtol=TOLERANCE, atol=TOLERANCE)
        # PyTorch averages n / (n − 1) times the variance of the n values of a batch.
        n = len(images) * side**2
        expected = before[variance] * 0.9 + (ours[variance] - before[variance] * 0.9) * n / (n - 1)
        np.testing.assert_allclose(theirs[variance], expected, rtol=1e-5)


def test_variables_of_another_model_are_refused(make_run, images):
    variables = port.make_inputs(make_run("plain"), images).variables
    wider = networks.MultitaskVAE(to_dict(make_run("plain", model__latent_dim=5)), images.shape[1:])
    with pytest.raises(ValueError, match=r"latent/moments/kernel: \(784, 8\) of ours, \(784, 10\) of the twin's"):
        port.copy_variables(variables, wider)
    other = networks.MultitaskVAE(to_dict(make_run("semi_conditional")), images.shape[1:])
    with pytest.raises(ValueError, match=r"without a counterpart: .*params/conditional_decoder/merge/m/kernel"):
        port.copy_variables(variables, other)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model__codebook_ema", 0.99),
        ("model__codebook_restart", 0.1),
        ("model__kernel_size", 1),
        ("model__merge", "spatial"),
        ("model__normalization", "none"),
        ("conditioning__sampling", "gaussian"),
        ("train__clip_norm", 1.0),
    ],
)
def test_what_the_twin_does_not_have_is_refused(make_run, field, value):
    config = to_dict(make_run("multi_decoder", "vq", **{field: value}))
    with pytest.raises(ValueError, match=field.replace("__", r"\.")):
        networks.MultitaskVAE(config, (28, 28, 1))


@pytest.mark.parametrize(
    ("latent", "mode", "precision"),
    [("gaussian", "channels_last", "float32"), ("vq", "eager", "float32"), ("vq", "channels_last", "bfloat16")],
)
def test_trains(make_run, dataset, latent, mode, precision):
    config = to_dict(
        make_run("multi_decoder", latent, conditioning__sampling="uniform", train__precision=precision)
    )
    trainer = worker.Trainer(config, dataset.train[:64].copy(), mode)
    batch = trainer.images[:32].float() / 255.0
    mask = worker.draw_masks(config, 32, 28, 28, "cpu")

    def errors():
        return [(x - batch).square().mean().item() for x in trainer.model.outputs(batch, mask).reconstructions]

    before = errors()
    trainer(30)
    assert all(after < 0.8 * start for after, start in zip(errors(), before, strict=True))


def test_bfloat16_computes_in_bfloat16_and_keeps_losses_in_float32(make_run, images):
    model = networks.MultitaskVAE(to_dict(make_run("plain", "vq")), images.shape[1:])
    seen = []
    model.decoder.layers.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(port.images_to_twin(images).float() / 255.0)
        vectors, codebook = torch.randn(64, 4, 7, 7), torch.randn(16, 4)
        codes = networks.nearest_codes(vectors, codebook)
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert (codes == networks.nearest_codes(vectors, codebook)).all()


def test_uniform_masks_reveal_exactly_as_many_pixels_as_ours(make_run):
    config = to_dict(make_run("multi_decoder", conditioning__sampling="uniform"))
    mask = worker.draw_masks(config, 16, 28, 28, "cpu")
    assert mask.shape == (16, 1, 28, 28)
    assert (mask.sum((1, 2, 3)) == 49).all()
    config = to_dict(make_run("single_decoder"))
    fraction = worker.draw_masks(config, 4000, 28, 28, "cpu").mean().item()
    np.testing.assert_allclose(fraction, 1 / (config["conditioning"]["exponent"] + 1), rtol=0.1)
