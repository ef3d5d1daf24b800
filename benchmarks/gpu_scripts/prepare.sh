# Sourced by the others: $bundle, $python, $out and $images, with what the machine lacks on the path.
set -euo pipefail
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
out=${OUT:-$bundle/results}
images=$(find "$bundle/images" -name '*.npz' -printf 'npz:%p,' | sed 's/,$//')
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
# Beside the packages that are there, not in a virtual environment: one of those would not see another's packages.
"$python" -m pip install --quiet --no-index --no-deps --target "$site" "$bundle"/wheels/*.whl
export PYTHONPATH="$bundle/code:$site" PYTHONUNBUFFERED=1
# Installs nothing: fails where something is not there, or in a version that has not been tried.
"$python" -m pip install --quiet --dry-run --no-index --no-deps --requirement "$bundle/requirements.txt"
mkdir -p "$out"
cd "$bundle/code"
