"""The trained models in models/: each opens, is small, and does what its card says."""

import jax
import numpy as np
import pytest
from small_runs import ROOT

import mtvae_jax

MODELS = sorted(path.parent for path in (ROOT / "models").glob("*/README.md"))


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_it_opens_and_its_draws_keep_to_the_pixels(folder):
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < 4e6
    card = (folder / "README.md").read_text()
    assert f'mtvae_jax.load("models/{folder.name}")' in card
    assert "Data and licence" in card
    assert "launch.py" in card
    model = mtvae_jax.load(folder)
    rng = np.random.default_rng(0)
    images = rng.random((2, *model.image_shape), np.float32) ** 4  # of no dataset: only the pixels' places matter
    mask = rng.random((*model.image_shape[:2], 1)) < 0.1
    draws = model.sample(4, jax.random.key(0), images, mask)
    assert np.isfinite(draws).all()
    assert draws.min() >= 0
    assert draws.max() <= 1
    assert np.abs(draws[0] - draws[1]).max() > 0.01  # what is hidden is open
    known = np.broadcast_to(mask, draws.shape[1:])
    error, of_others = (np.mean((draws.mean(0) - x)[known] ** 2) for x in (images, images[::-1]))
    assert error < of_others
