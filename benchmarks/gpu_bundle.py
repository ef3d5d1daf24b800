"""Packs the benchmarks and the studies for a machine with GPUs, JAX and PyTorch, but without a network.

    python -m benchmarks.gpu_bundle OUT_DIR --images=FILE.npz   # then carry OUT_DIR there, and run
    OUT=RESULTS_DIR bash OUT_DIR/first_minutes.sh               # there; what to find out first, eight minutes
    OUT=RESULTS_DIR bash OUT_DIR/benchmarks.sh                  # there; eight minutes, or MINUTES=…
    OUT=RESULTS_DIR bash OUT_DIR/study.sh                       # there; nine minutes, or MINUTES=…

The folder holds the code, wheels of what such machines tend to lack, the images that are named, and the scripts of
`benchmarks/gpu_scripts`, which first ask pip whether the versions there are those that pyproject.toml admits.
`benchmarks.sh --only=training,parts` leaves the more time to these: on GPUs every program is compiled for long, as each
convolution is tried in several ways. `study.sh` runs `configs/thesis.py:all` on the images by the protocol `small` with
5 seeds and 40 epochs. PYTHON names an interpreter.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from benchmarks.harness import ROOT
from mtvae_jax import __version__
from mtvae_jax.process import environment

SCRIPTS = Path(__file__).parent / "gpu_scripts"
CODE = ("mtvae_jax", "benchmarks", "configs", "launch.py")
WHEELS = ("ml-collections", "tensorboardX")  # pure Python, in the versions installed here
FOR_DOWNLOADS = ("tensorflow-datasets", "importlib-resources", "beautifulsoup4")  # of no use without a network
LIMIT_BYTES = 60 * 2**20


def pack(directory, image_files=()):
    """**Arguments:** `directory`: must not exist yet; `image_files`: .npz files of images to train on.

    **Returns:** its size in bytes. **Raises:** `SystemExit` where it would be larger than `LIMIT_BYTES`.
    """
    directory = Path(directory)
    for name in CODE:
        source, target = ROOT / name, directory / "code" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(source, target)
    init = directory / "code" / "mtvae_jax" / "__init__.py"  # with the commit, which only a clone knows
    init.write_text(init.read_text().replace(__version__, environment.versions()["mtvae-jax"]))
    (directory / "requirements.txt").write_text("\n".join(requirements()) + "\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    wheels = [f"{name}=={metadata.version(name)}" for name in WHEELS]
    subprocess.run([*pip, "--dest", str(directory / "wheels"), *wheels], check=True)
    (directory / "images").mkdir()
    for file in image_files:
        shutil.copy(file, directory / "images")
    for script in SCRIPTS.iterdir():
        shutil.copy(script, directory)
    size = sum(path.stat().st_size for path in directory.rglob("*"))
    if size > LIMIT_BYTES:
        raise SystemExit(f"{directory}: {size / 2**20:.0f} MiB, more than {LIMIT_BYTES // 2**20}: fewer images")
    return size


def requirements():
    """What pyproject.toml asks for, but for what downloads datasets."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [line for line in project["dependencies"] if re.match(r"[\w-]+", line)[0] not in FOR_DOWNLOADS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="OUT_DIR")
    parser.add_argument("--images", default="", help=".npz files, with commas between them")
    flags = parser.parse_args()
    if flags.directory.exists():
        parser.error(f"{flags.directory} is there already")
    size = pack(flags.directory, [file for file in flags.images.split(",") if file])
    print(f"{flags.directory}: {size / 2**20:.1f} MiB; benchmarks.sh and study.sh are to be run there")


if __name__ == "__main__":
    main()
