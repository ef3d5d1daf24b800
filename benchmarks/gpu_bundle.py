"""Packs the benchmarks for a machine with GPUs, JAX and PyTorch, but without a network.

    python -m benchmarks.gpu_bundle OUT_DIR                     # then carry OUT_DIR there, and run
    OUT=RESULTS_DIR bash OUT_DIR/run.sh                         # there; nine minutes

The folder holds the code, wheels of what such machines tend to lack, images if any are named, and `run.sh`, which
installs and runs `python -m benchmarks`. Further arguments of run.sh are the benchmarks'; PYTHON names an interpreter.
"""

import argparse
import shutil
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = ("mtvae_jax", "benchmarks", "configs", "launch.py")
WHEELS = ("ml-collections", "tensorboardX")  # pure Python, in the versions installed here
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
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    wheels = [f"{name}=={metadata.version(name)}" for name in WHEELS]
    subprocess.run([*pip, "--dest", str(directory / "wheels"), *wheels], check=True)
    (directory / "images").mkdir()
    for file in image_files:
        shutil.copy(file, directory / "images")
    (directory / "run.sh").write_text(_script([Path(file).name for file in image_files]))
    size = sum(path.stat().st_size for path in directory.rglob("*"))
    if size > LIMIT_BYTES:
        raise SystemExit(f"{directory}: {size / 2**20:.0f} MiB, more than {LIMIT_BYTES // 2**20}: fewer images")
    return size


def _script(image_names):
    images = ",".join(f"npz:$bundle/images/{name}" for name in image_names)
    # Beside the packages that are there, not in a virtual environment: one of those would not see another's packages.
    return textwrap.dedent(f"""\
        #!/usr/bin/env bash
        set -euo pipefail
        bundle=$(cd "$(dirname "$0")" && pwd)
        python=${{PYTHON:-python3}}
        site=$(mktemp -d)
        trap 'rm -rf "$site"' EXIT
        "$python" -m pip install --quiet --no-index --no-deps --target "$site" "$bundle"/wheels/*.whl
        export PYTHONPATH="$bundle/code:$site" PYTHONUNBUFFERED=1
        cd "$bundle/code"
        "$python" -m benchmarks --minutes=9 --images="{images}" --output="${{OUT:-$bundle/results}}" "$@"
        """)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="OUT_DIR")
    parser.add_argument("--images", default="", help=".npz files, with commas between them")
    flags = parser.parse_args()
    if flags.directory.exists():
        parser.error(f"{flags.directory} is there already")
    size = pack(flags.directory, [file for file in flags.images.split(",") if file])
    print(f"{flags.directory}: {size / 2**20:.1f} MiB; there: OUT=RESULTS_DIR bash {flags.directory.name}/run.sh")


if __name__ == "__main__":
    main()
