"""The PyTorch competitor is the same model, so that a comparison of speed means something."""

import jax
import numpy as np
import pytest

from mtvae_jax.config import to_dict
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, count_parameters, init_variables

torch = pytest.importorskip("torch")
twin = pytest.importorskip("benchmarks.pytorch_twin")


@pytest.mark.parametrize("method", METHODS)
def test_has_as_many_parameters_in_every_part(make_run, dataset, method):
    config = make_run(method)
    variables = jax.eval_shape(
        lambda key: init_variables(build_model(config, dataset.image_shape), key, dataset.image_shape),
        jax.random.key(0),
    )
    ours = count_parameters(variables["params"])
    model = twin.MultitaskVAE(to_dict(config), dataset.image_shape)
    theirs = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    theirs["latent"] = theirs.pop("moments")
    assert theirs | {"total": sum(theirs.values())} == ours


def test_trains(make_run, dataset):
    config = to_dict(make_run("multi_decoder", conditioning__sampling="uniform"))
    trainer = twin.Trainer(config, dataset.train[:64].copy(), "channels_last")
    batch = trainer.images[:32].float() / 255.0
    mask = twin.draw_masks(config, 32, 28, 28, "cpu")
    before = trainer.model(batch, mask).item()
    trainer(20)
    assert trainer.model(batch, mask).item() < before


def test_uniform_masks_reveal_exactly_as_many_pixels_as_ours(make_run):
    config = to_dict(make_run("multi_decoder", conditioning__sampling="uniform"))
    mask = twin.draw_masks(config, 16, 28, 28, "cpu")
    assert mask.shape == (16, 1, 28, 28)
    assert (mask.sum((1, 2, 3)) == 49).all()
    config = to_dict(make_run("single_decoder"))
    fraction = twin.draw_masks(config, 4000, 28, 28, "cpu").mean().item()
    np.testing.assert_allclose(fraction, 1 / (config["conditioning"]["exponent"] + 1), rtol=0.1)
