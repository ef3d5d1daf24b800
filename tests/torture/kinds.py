"""The runs that are killed: as small as real runs can be, with everything that real ones do."""

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
_TINY = (
    "model.hidden_dims=4,8", "model.latent_dim=4", "data.max_train=96", "train.batch_size=16", "prior.batch_size=16",
    "prior.hidden_dim=4", "prior.num_layers=2", "prior.first_kernel_size=3", "generation.num_samples=0",
    "train.checkpoint_seconds=0",
)  # fmt: skip
_TINY_CODES = ("model.residual_layers=1", "model.residual_dim=4", "model.codebook_size=8")


@dataclasses.dataclass(frozen=True)
class Kind:
    """**name**; **program**: and its arguments, run in a folder of their own; **workdirs**: glob of the directories
    with metrics and checkpoints; **tables**: files that must be equal to the byte; **targets**: what is waited for and
    killed in, with the glob of a file or folder that tells of it; **end**: what it says when nothing is left to do."""

    name: str
    program: tuple
    workdirs: tuple
    tables: tuple
    targets: dict
    end: str


_SAVING = "checkpoints/*.orbax-checkpoint-tmp"
_FIGURE = "figures/.*.png.*.tmp"


def kinds(data, *, epochs=16):
    """{name: `Kind`}. **Arguments:** `data`: path of a npz file, as of `write_data`; `epochs`: of the longest part."""
    launch = str(ROOT / "launch.py")
    targets = {"saving": f"run/{_SAVING}", "figure": f"run/{_FIGURE}", "ending": "run/summary.tmp"}

    def run(config, *settings):
        arguments = [f"--config={ROOT / 'configs' / config}.py:npz:{data}", "--workdir=run"]
        return launch, *arguments, *(f"--config.{setting}" for setting in (*_TINY, *settings))

    figures = f"train.figures_every={epochs}"  # after the first epoch and at the end
    two_stages = {
        "saving": f"run/{_SAVING}",
        "saving of the second stage": f"run/prior-*/{_SAVING}",
        "change of stage": "run/prior-*",
        "encoding": "run/prior-*/posteriors.tmp",
        "figure": f"run/{_FIGURE}",
    }
    study = (str(Path(__file__).parent / "small_study.py"), str(data), str(max(2, epochs // 4)))
    in_a_study = {"saving": f"runs/*/{_SAVING}", "ending": "runs/*/summary.tmp", "report": "study/results.csv"}
    found = (
        Kind("gauss", run("gauss_multi", f"train.epochs={epochs}", "prior.epochs=0", figures), ("run",), (), targets,
             "model complete"),
        Kind("vq", run("vq_multi", *_TINY_CODES, f"train.epochs={epochs}", "prior.epochs=0", figures,
                       "train.checkpoint_seconds=0.5"), ("run",), (), targets, "model complete"),
        Kind("second_stage", run("gauss_multi", "train.epochs=3", f"prior.epochs={epochs}", figures),
             ("run", "run/prior-*"), (), two_stages, "prior complete"),
        Kind("study", study, ("runs/*",), ("study/results.csv", "study/claims.json"), in_a_study,
             "report: "),
        Kind("study_processes", (*study, "processes"), ("runs/*",), ("study/results.csv", "study/claims.json"),
             in_a_study, "report: "),
    )  # fmt: skip
    return {kind.name: kind for kind in found}


def write_data(path):
    """A small dataset of a user's own: real digits."""
    with np.load(ROOT / "mtvae_jax" / "data" / "mnist_sample.npz") as file:
        np.savez(path, images=file["images"][:200])


def command(kind):
    return [sys.executable, *kind.program]


def environment(cache):
    """For all processes of a kind: what one has compiled the next one need not."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
