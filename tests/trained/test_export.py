"""Exported programs, run as their README says by a process that does not import this project."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from small_runs import small_config

from mtvae_jax.config import resolve
from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.trained.model import Model
from mtvae_jax.trained.prior import LearnedPrior
from mtvae_jax.training.prior_objective import PriorObjective

SHAPE = (8, 6, 3)
IMAGES = np.random.default_rng(0).random((3, *SHAPE), np.float32)
MASK = (np.random.default_rng(1).random((3, *SHAPE[:2], 1)) < 0.3).astype(np.float32)

# Also with numbers of images that it was not written for
STRANGER = """
import sys
from pathlib import Path
import numpy as np
from jax import export

inputs = np.load("inputs.npz")
programs = {path.stem: export.deserialize(path.read_bytes()).call for path in Path(".").glob("*.jax_export")}
images, mask = inputs["images"], inputs["mask"]
outputs = {"encoder": programs["encoder"](images)}
if "decoder" in programs:
    outputs["decoder"] = programs["decoder"](outputs["encoder"])
if "conditional_decoder" in programs:
    outputs["conditional_decoder"] = programs["conditional_decoder"](outputs["encoder"], images, mask)
if "prior" in programs:
    outputs["prior"] = programs["prior"](np.uint32(7), images, mask)
    outputs["prior_again"] = programs["prior"](np.uint32(7), images[:2], mask[:2])
    outputs["prior_other"] = programs["prior"](np.uint32(8), images, mask)
np.savez("outputs.npz", **outputs)
assert not any(name.startswith("mtvae_jax") for name in sys.modules)
"""


def model(latent, method, **overrides):
    config = resolve(small_config(method, latent=latent, conditioning__grid_stride=2, **overrides), SHAPE)
    model = Model(config, SHAPE, init_variables(build_model(config, SHAPE), jax.random.key(0), SHAPE), step=5)
    if not config.prior.joint and model.method.conditional_decoder:
        prior = LearnedPrior(config, SHAPE, 0)
        model = model.with_prior(prior.with_variables(PriorObjective.of(prior).init(jax.random.key(1))))
    return model


def run(folder, code):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


CASES = [
    ("gaussian", "multi_decoder", {}),
    ("gaussian", "plain", {}),
    ("vq", "multi_decoder", {"model__merge": "spatial"}),
    ("gaussian", "single_decoder", {"model__merge": "context", "model__factors": 3, "prior__joint": True,
                                    "prior__epochs": 0, "conditioning__sampling": "uniform"}),
]  # fmt: skip


@pytest.mark.parametrize(("latent", "method", "overrides"), CASES)
def test_programs_are_the_model_for_a_stranger(latent, method, overrides, tmp_path):
    trained = model(latent, method, **overrides)
    trained.export(tmp_path / "exported")
    folder = tmp_path / "exported"
    np.savez(folder / "inputs.npz", images=IMAGES, mask=MASK)
    run(folder, STRANGER)
    found = dict(np.load(folder / "outputs.npz"))
    described = json.loads((folder / "programs.json").read_text())
    assert set(described["programs"]) == {path.stem for path in folder.glob("*.jax_export")}
    np.testing.assert_allclose(found["encoder"], trained.encode(IMAGES), atol=1e-5)
    if trained.method.unconditioned:
        np.testing.assert_allclose(found["decoder"], trained.reconstruct(IMAGES), atol=1e-5)
    if trained.method.conditional_decoder:
        trained._warned.append("of masks unlike those of training")
        np.testing.assert_allclose(found["conditional_decoder"], trained.reconstruct(IMAGES, MASK), atol=1e-5)
        assert found["prior"].shape == found["encoder"].shape
        np.testing.assert_allclose(found["prior_again"], found["prior"][:2], atol=1e-5)
        assert np.abs(found["prior_other"] - found["prior"]).max() > 0
    readme = (folder / "README.md").read_text()
    rows = [line for line in readme.splitlines() if line.startswith("| `")]
    assert rows
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {6}  # four cells: p(z|m) splits none
    shown = run(folder, readme.split("```python\n")[1].split("```")[0])
    assert shown.startswith(f"(4, {', '.join(map(str, SHAPE))})")


def test_what_cannot_be_written_is_said_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        model("gaussian", "plain").export(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(UserError, match=r"export: flatbuffers is not installed; pip install 'mtvae-jax\[export\]'"):
        model("gaussian", "plain").export(tmp_path / "folder")
