"""What is refused before anything is trained."""

import numpy as np
import pytest
from small_runs import small_config

from mtvae_jax.errors import UserError
from mtvae_jax.prepare import prepare


def refusal(config):
    with pytest.raises(UserError) as error:
        prepare(config, warn=lambda text: None)
    return str(error.value)


def test_classes_without_labels_are_refused_before_the_first_stage(tmp_path):
    np.savez(tmp_path / "own.npz", images=np.zeros((40, 8, 8), np.uint8))
    config = small_config("plain", f"npz:{tmp_path / 'own.npz'}", "vq", prior__class_conditional=True)
    assert refusal(config) == "config.prior.class_conditional = True: own has no labels; must be False"


@pytest.mark.parametrize("path", ["nowhere.npz", "x" * 300, "~nobody/weights.npz", "a\0b"])
def test_weights_that_are_not_there_are_refused_before_the_first_stage(path):
    assert refusal(small_config(generation__inception=path)).startswith("config.generation.inception = ")
