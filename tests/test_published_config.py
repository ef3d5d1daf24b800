"""The published VQ-VAE setting on CIFAR-10, for an epoch of images made up in the shape of CIFAR-10's archive."""

import io
import sys

import numpy as np
from small_runs import ROOT

from mtvae_jax.cli.command_line import parse
from mtvae_jax.cli.prepare import prepare
from mtvae_jax.models import build_model, count_parameters, init_variables
from mtvae_jax.training.first_stage import train

sys.path.insert(0, str(ROOT / "tests" / "data"))
import fabricated


def test_an_epoch_on_cifar10_as_tensorflow_datasets_gives_it(tmp_path, monkeypatch):
    fabricated.cifar10(tmp_path / "data", monkeypatch)
    arguments = parse(
        [
            "launch.py",
            f"--config={ROOT / 'configs' / 'vq_cifar10_published.py'}",
            f"--config.data.dir={tmp_path / 'data'}",
            "--config.train.epochs=1",
            "--config.train.figures_every=0",
            "--config.prior.epochs=0",
            "--config.model.hidden_dims=8,16",  # those of the network itself are counted below
            "--config.model.codebook_size=16",
        ]
    )
    config, dataset = prepare(arguments.config, warn=print)
    assert dataset.image_shape == (32, 32, 3)
    summary = train(config, dataset, tmp_path / "run", stream=io.StringIO())
    assert np.isfinite(summary["test/reconstruction"])
    assert summary["steps"] == 1  # 48 images, batches of 32


def test_it_is_the_published_network():
    """By the sizes that the notebook prints: 4×4 kernels of stride 2, 3×3, residual layers 3×3 and 1×1, 1×1 to 64."""
    import jax

    config, *_ = (parse(["launch.py", f"--config={ROOT / 'configs' / 'vq_cifar10_published.py'}"]).config,)
    variables = jax.eval_shape(lambda: init_variables(build_model(config, (32, 32, 3)), jax.random.key(0), (32, 32, 3)))

    def conv(taps, a, b):
        return taps * a * b + b

    residual = 2 * (conv(9, 128, 32) + conv(1, 32, 128))
    encoder = conv(16, 3, 64) + conv(16, 64, 128) + conv(9, 128, 128) + residual
    decoder = conv(9, 64, 128) + residual + conv(16, 128, 64) + conv(16, 64, 3)
    latent = conv(1, 128, 64) + 512 * 64
    expected = {"encoder": encoder, "latent": latent, "decoder": decoder, "total": encoder + latent + decoder}
    assert count_parameters(variables["params"]) == expected
