"""The examples of CONTRIBUTING.md, carried out on a copy of the package as they stand there."""

import re
import shutil
import subprocess
import sys

import pytest
from small_runs import ROOT

BLOCK = re.compile(r"```python\n# (file:|import in|function in|line of (\w+) in) ?(\S+)\n(.*?)```", re.DOTALL)

SMALL = (
    "--config.train.epochs=1", "--config.train.batch_size=32", "--config.train.figures_every=0",
    "--config.prior.epochs=1", "--config.prior.batch_size=32", "--config.prior.hidden_dim=4",
    "--config.prior.num_layers=1",
    "--config.model.hidden_dims=4,8", "--config.model.residual_layers=0", "--config.generation.num_samples=0",
)  # fmt: skip

PROGRAM = """
from mtvae_jax.config import thesis_config
def get_config(dataset="stripes"):
    config = thesis_config(dataset, latent="{latent}", method="{method}")
    config.conditioning.sampling = "{sampling}"
    return config
"""


def apply(blocks, root):
    """Makes the changes that the page tells to make."""
    for kind, table, path, text in blocks:
        file = root / path
        if kind == "file:":
            file.write_text(text)
            continue
        source = file.read_text()
        if kind == "import in":
            first = re.search(r"^(import|from) ", source, re.MULTILINE).start()
        elif kind == "function in":
            first = re.search(r"^[A-Z]+ = [({]$", source, re.MULTILINE).start()
            text += "\n\n"
        else:
            first = re.search(rf"^{table} = [({{]\n", source, re.MULTILINE).end()
        file.write_text(source[:first] + text + source[first:])


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy")
    for name in ("mtvae_jax", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", root)
    blocks = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert [kind for kind, *_ in blocks].count("file:") == 2
    assert {table for _, table, *_ in blocks if table} == {"LATENTS", "SAMPLINGS", "METHODS", "READERS", "CLAIMS"}
    apply(blocks, root)
    return root


def run(root, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("latent", "method", "sampling"), [("ternary", "multi_decoder", "exact"), ("gaussian", "varied", "rows")]
)
def test_what_the_page_adds_trains_on_what_it_adds(copy, latent, method, sampling):
    (copy / "config.py").write_text(PROGRAM.format(latent=latent, method=method, sampling=sampling))
    done = run(copy, "launch.py", "--config=config.py", *SMALL, f"--workdir=runs/{method}")
    assert done.returncode == 0, done.stderr
    assert "2 × 2 codes of 4 ternary values" in done.stdout or latent != "ternary"
    assert "on stripes, 8×8×1" in done.stdout


def test_what_the_page_adds_passes_the_linter(copy):
    """But for the order of imports: a person puts them where they belong."""
    pytest.importorskip("ruff")
    settings = (f"--config={ROOT / 'pyproject.toml'}", "--ignore=I001")
    done = run(copy, "-m", "ruff", "check", *settings, "mtvae_jax", "configs")
    assert done.returncode == 0, done.stdout


def test_the_claim_and_the_config_of_the_page_are_known(copy):
    program = (
        "from mtvae_jax.study.claims import CLAIMS, runs_needed\n"
        "claim = {claim.id: claim for claim in CLAIMS}['X1']\n"
        "print([run['latent'] for run in runs_needed(claim.parts)])"
    )
    assert run(copy, "-c", program).stdout == "['fsq', 'vq']\n"
    assert "ternary" in run(copy, "launch.py", "--config=configs/ternary_multi.py", "--help").stdout
