#!/usr/bin/env bash
# All speed benchmarks in nine minutes; arguments are those of `python -m benchmarks`.
. "$(dirname "$0")/prepare.sh"
"$python" -m benchmarks --minutes=9 --images="$images" --output="$out" "$@"
