#!/usr/bin/env bash
# What to find out first, in MINUTES (8) at most; arguments are those of `python -m benchmarks.first_minutes`.
. "$(dirname "$0")/prepare.sh"
"$python" -m benchmarks.first_minutes --minutes="${MINUTES:-8}" --output="$out" "$@"
