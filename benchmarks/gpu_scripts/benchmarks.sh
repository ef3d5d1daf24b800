#!/usr/bin/env bash
# All speed benchmarks for MINUTES (8) at most; arguments are those of `python -m benchmarks`.
. "$(dirname "$0")/prepare.sh"
"$python" -m benchmarks --minutes="${MINUTES:-8}" --images="$images" --output="$out" "$@"
