"""Models of any latent are compared in what was measured of them."""

import pytest

from mtvae_jax.models.latents import LATENTS
from mtvae_jax.study.report.paragraphs import best_models
from mtvae_jax.study.report.tables import levels

MODELS = {("plain", None): 0.02, ("multi_decoder", "exact"): 0.01}


@pytest.mark.parametrize("latent", LATENTS)
def test_a_latent_is_compared_by_the_reconstruction_and_by_its_own_terms(latent):
    own = {f"test/{term}": 3.0 for term in LATENTS[latent].terms}
    models = {model: [{"test/reconstruction": error, "parameters": 1e6} | own] for model, error in MODELS.items()}
    said, table = best_models(models, "digits", latent), levels(models, "digits", latent)
    assert said.startswith(f"{LATENTS[latent].title} on digits")
    assert "the lowest reconstruction from z is that of multi-decoder, exact (0.0100)" in said
    assert all(title in said for title, _ in LATENTS[latent].terms.values())
    assert len(table.columns) == 2 + 1 + len(own) + 1
    assert [row[2] for row in table.rows] == ["0.0200", "0.0100"]
