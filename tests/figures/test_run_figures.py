"""The figures of both stages as a run draws them: what their titles and axes say."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import small_config

from mtvae_jax import figures
from mtvae_jax.config import resolve
from mtvae_jax.training.prior_figures import PriorFigures
from mtvae_jax.training.run_figures import RunFigures

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
DATASET = SimpleNamespace(validation=IMAGES, name="digits", image_shape=(28, 28, 1))


@pytest.fixture
def drawn(monkeypatch):
    """{name: what a figure says}, of those that are saved."""
    texts = {}

    def save(figure, path):
        texts[path.stem] = [t.get_text() for t in figure.texts] + [axes.get_ylabel() for axes in figure.axes]

    monkeypatch.setattr(figures, "save", save)
    return texts


@pytest.mark.parametrize(("latent", "unit", "nats"), [("vq", "nats a code", "nats_per_code"),
                                                      ("gaussian", "nats an image", "nats")])
def test_the_loss_of_a_prior_is_in_nats(latent, unit, nats, drawn, tmp_path):
    config = resolve(small_config("plain", latent=latent), (28, 28, 1))
    model = SimpleNamespace(
        config=config, method=SimpleNamespace(unconditioned=False, conditional_decoder=False),
        with_prior=lambda prior: model,
    )  # fmt: skip
    prior = SimpleNamespace(with_variables=lambda variables: None, sees_pixels=False, knows_nothing_revealed=True)
    records = [{"epoch": 1, "step": 3, "train/loss": 2.0, "val/loss": 3.0, f"val/{nats}": 3.0}]
    log = SimpleNamespace(records=records, image=lambda *_: None)
    PriorFigures(tmp_path, model, prior, DATASET)({}, log, epoch=1)
    assert set(drawn["prior_curves"]) >= {unit}
    assert "weighted sum of terms" not in drawn["prior_curves"]


def test_sampling_types_are_counted_row_by_row_and_not_in_the_title(tmp_path):
    """Gaussian sampling with replacement reveals fewer pixels than it draws: no number is that of all rows."""
    config = resolve(small_config("multi_decoder", conditioning__grid_stride=4), (28, 28, 1))
    figure = RunFigures(tmp_path, config, DATASET)._sampling_types(figures)
    title, *_ = [text.get_text() for text in figure.texts if text.get_text().startswith("Sampling")]
    assert title == "Sampling types"
    revealed = (28 // 4) ** 2
    assert f"Exact\n{revealed} pixels" in [axes.get_label() for axes in figure.axes]
