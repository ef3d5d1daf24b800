"""Small real data and small models, so that a test trains in seconds."""

import os
from pathlib import Path

# For the processes that tests start, wherever they start them.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent.parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
)
# Tests and the processes that they start share compiled programs; set before anything imports jax.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# So may they share Python's: three seconds a process where packages were installed without.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Small programs run for less time than XLA takes to optimise them, and without its newer emitters it builds them three
# times as fast.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

import numpy as np
import pytest
from small_runs import ROOT, small_config

from mtvae_jax.config import resolve
from mtvae_jax.data import load_dataset


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """A process may map some 65,000 pieces of memory, and the programs of the whole suite are more than that."""
    yield
    import jax

    jax.clear_caches()


@pytest.fixture(scope="session")
def digits():
    """uint8 [320, 28, 28, 1]: real digits."""
    with np.load(ROOT / "mtvae_jax" / "data" / "mnist_sample.npz") as file:
        return file["images"][:320]


@pytest.fixture(scope="session")
def digits_npz(digits, tmp_path_factory):
    """The path of a small dataset of a user's own: 320 digits, of which 32 become the test split, 29 the validation."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, images=digits)
    return path


@pytest.fixture(scope="session")
def dataset(digits_npz):
    return load_dataset(f"npz:{digits_npz}")


@pytest.fixture(scope="session")
def tiny(digits, tmp_path_factory):
    """48 images of 6 × 6 for training, 8 for validation, 8 for the test, with labels 0 … 2."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    images, labels = digits[:64, 4:28:4, 4:28:4], np.arange(64) % 3
    np.savez(path, images=images[:56], labels=labels[:56], test_images=images[56:], test_labels=labels[56:])
    return load_dataset(f"npz:{path}", validation=1 / 7)


@pytest.fixture(scope="session")
def make_run(dataset, digits_npz):
    """A function (method, latent, **overrides) → resolved config for `dataset`."""

    def make(method="multi_decoder", latent="gaussian", **overrides):
        return resolve(small_config(method, f"npz:{digits_npz}", latent, **overrides), dataset.image_shape)

    return make
