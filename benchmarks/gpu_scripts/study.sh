#!/usr/bin/env bash
# All of the thesis' studies on the images, for MINUTES (9) at most, and the report on what is there by then. Called again in
# the same place it goes on. Arguments are those of launch.py.
. "$(dirname "$0")/prepare.sh"
study=("$python" launch.py --config=configs/thesis.py:all --config.protocol=small --config.seeds=5 --config.epochs=40
  --config.datasets="$images" --workdir="$bundle/study" "$@")
started=$SECONDS
"${study[@]}" &
training=$!
while kill -0 $training 2> /dev/null && ((SECONDS - started < 60 * ${MINUTES:-9})); do sleep 1; done
kill -TERM $training 2> /dev/null || true  # saves all it has
status=0
wait $training || status=$?
# 75: stopped in time; 1: a run failed, which the report says
((status == 0 || status == 1 || status == 75)) || exit $status
"${study[@]}" --config.report_only=True

cp "$bundle"/study/{report.html,report.md,results.csv,claims.json} "$out"
tar -czf "$out/figures.tar.gz" -C "$bundle/study" figures
find runs -name summary.json -o -name metrics.jsonl -o -name config.json | tar -czf "$out/runs.tar.gz" -T -
