"""A trained model to pass on: what `mtvae_jax.load` needs, without the optimiser's state, and a model card.

    python -m mtvae_jax.trained.publish runs/pixels models/pixels-mnist --note="Half the thesis' width."
"""

import argparse
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import struct

from mtvae_jax.conditioning import describe_masks
from mtvae_jax.config import model_name
from mtvae_jax.errors import UserError
from mtvae_jax.trained.model import load
from mtvae_jax.trained.prior import prior_directory
from mtvae_jax.workdir.checkpoints import Checkpoints
from mtvae_jax.workdir.directory import read_json, read_run, read_summary, user_path, write_json

_COPIED = ("summary.json", "generation.json")
# What of a card's figures is said, as test metric → what it is.
_FIGURES = {
    "test/reconstruction": "squared error from z alone",
    "test/reconstruction_conditioned": "squared error from z and the revealed pixels",
    "test/prediction": "squared error of the mean of draws given the revealed pixels, over all pixels",
    "test/kl": "KL divergence, nats",
    "test/nats_conditioned": "KL divergence to p(z|m), nats",
    "test/perplexity": "perplexity of the codes",
    "test/ssim_conditioned": "SSIM from z and the revealed pixels",
}


@struct.dataclass
class _Variables:
    """The part of a training state that a trained model has, under the same names."""

    step: int
    params: Any
    batch_stats: Any
    average: Any


def publish(workdir, path, *, note=""):
    """Writes the best model of a complete run into a folder that `mtvae_jax.load` opens, with a model card README.md.

    **Arguments:** `workdir`: of the run; `path`: a folder that does not exist, or is empty; `note`: sentences for the
    card: what is special, where the limits are.
    **Raises:** `UserError` for a run that is not complete, or a folder that cannot be written.
    """
    workdir, path = user_path(workdir), user_path(path)
    run, summary = read_run(workdir), read_summary(workdir)
    if summary is None:
        raise UserError(f"{workdir}: is not complete; publish what has been trained to its end")
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path}: is not empty; give a folder that does not exist")
    model = load(workdir)
    final, path = path, path.with_name(f"{path.name}.tmp")
    try:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        for name in _COPIED:
            if (workdir / name).exists():
                shutil.copyfile(workdir / name, path / name)
        write_json(path / "config.json", {part: value for part, value in run.items() if part != "history"})
        _save(path, model.step, model.variables, summary)
        if model.prior is not None and not model.config.prior.joint:
            prior = prior_directory(workdir, model.config, model.step)
            (path / prior.name).mkdir()
            for name in ("config.json", "summary.json"):
                shutil.copyfile(prior / name, path / prior.name / name)
            _save(path / prior.name, model.step, model.prior.variables, read_summary(prior))
        card = _card(final.name, model, run, summary, read_json(path / "generation.json"), note)
        (path / "README.md").write_text(card, encoding="utf-8")
        os.replace(path, final)  # an empty folder makes way
    except OSError as error:
        raise UserError(f"{final}: cannot be written ({error.strerror}); choose another folder") from error


def _save(path, step, variables, summary):
    variables = jax.tree.map(np.asarray, variables)
    with contextlib.closing(Checkpoints(path / "checkpoints")) as checkpoints:
        state = _Variables(np.int32(step), variables["params"], variables["batch_stats"], None)
        checkpoints.save(state, {}, metrics={"val/loss": summary["val/loss"]})


def _card(name, model, run, summary, generation, note):
    config, data = run["config"], run["data"]
    height, width, channels = data["image_shape"]
    figures = [(said, summary[name]) for name, said in _FIGURES.items() if name in summary]
    given = (generation or {}).get("given_pixels", {})
    if "conditional" in given:
        hidden = f"hidden pixels given {given['revealed']:g}, {given['num_images']} images"
        figures += [
            (f"{hidden}: squared error of the mean of {given['draws']} draws", given["conditional"]["mse_of_mean"]),
            (f"{hidden}: CRPS", given["conditional"]["crps"]),
        ]
    images = data["images"]
    facts = {
        "images": f"{data['name']}, {height}×{width}×{channels}: {images['train']:,} for training, "
                  f"{images['validation']:,} for validation, {images['test']:,} for testing",
        "model": f"{model_name(model.config)}, {config['model']['latent_dim']} dimensions of z; "
                 f"{config['model']['method']}, merge {config['model']['merge']}",
        "parameters": f"{summary['parameters']['total']:,}; SHA-256 {summary['parameters_sha256'][:16]}…",
        "training": f"{summary['epochs']} epochs, best {summary['best_epoch']}, "
                    f"{summary['train_seconds'] / 60:.0f} minutes on {summary['device']}; settings in `config.json`",
        "versions": ", ".join(f"{package} {version}" for package, version in summary["versions"].items()),
    }  # fmt: skip
    return f"""# {name}

{note}

```python
import jax

import mtvae_jax

model = mtvae_jax.load("models/{name}")  # this folder, from the root of the repository
model.sample(4, jax.random.key(0))
```

{_table(facts)}

On the test images, measured once, of one run:

{_table({said: f"{value:.4g}" for said, value in figures})}

**Data and licence.** The weights come under the licence of this project (MIT), the images that they were trained on
under terms of their own: `docs/licences.md`.

**Limits.** It knows images like those it was trained on, of that size, and masks like those of its training
({_masks(model)}). Its draws of hidden pixels are what training images make likely, not what was there. It is for
research on such models, not for decisions about people.
"""


def _table(rows):
    return "\n".join(["| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())])


def _cell(text):
    return text.replace("|", "\\|")


def _masks(model):
    height, width, _ = model.image_shape
    return describe_masks(model.config, height * width) or "none, it sees no pixels"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="of a complete run")
    parser.add_argument("path", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--note", default="", help="sentences for the card")
    flags = parser.parse_args()
    try:
        publish(flags.workdir, flags.path, note=flags.note)
    except UserError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(f"{flags.path}: {sum(file.stat().st_size for file in flags.path.rglob('*') if file.is_file()) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
