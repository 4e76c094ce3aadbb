#!/usr/bin/env bash
# The demo: a synthetic archive is segmented, grows by one scan, and only what that touches is redone.
#   DEMO_SERIES  series in the archive at first (14)
#   DEMO_SIZE    voxels of a series, DxHxW (24x96x96)
set -euo pipefail
cd "$(dirname "$0")/.."

series=${DEMO_SERIES:-14}
size=${DEMO_SIZE:-24x96x96}
results=results/demo
pipeline=pipelines/demo.toml
tomoflow=${CARGO_TARGET_DIR:-target}/release/tomoflow

step() {
    printf '\n== %s\n   $ %s\n' "$1" "${*:2}"
    "${@:2}"
}

rm -rf "$results"
step "An archive of $series synthetic scans with their outlines" \
    "$tomoflow" phantom vs --series "$series" --seed 7 --size "$size" --out "$results/archive"
step "The whole pipeline: assemble, train, segment, evaluate" \
    "$tomoflow" run "$pipeline"
step "One scan more" \
    "$tomoflow" phantom vs --series 1 --first "$series" --seed 7 --size "$size" --out "$results/archive"
step "Again: only what the new scan touches" \
    "$tomoflow" run "$pipeline"
step "The report" \
    "$tomoflow" report "$pipeline"

printf '\n== What was done the second time, and what was not, stands above, at the end of its run.\n'
printf 'Tables (Delta, for DuckDB, Polars, pandas, Spark) and report:\n'
find "$results" \( -name _delta_log -o -name '*.html' \) | sed 's:/_delta_log$:/:' | sort | sed 's/^/  /'
