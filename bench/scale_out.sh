#!/usr/bin/env bash
# Prints what web and worker processes on a Redis give and cost, beside `ocelli serve`. `make bench-scale-out` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${BENCH_PHOTOS:-../shared/data/evaluation}
if [[ ! -d $photos ]]; then
    echo "skipped: $photos, the photos to measure with, is absent (BENCH_PHOTOS names another folder)" >&2
    exit 0
fi
export OCELLI_ONNXRUNTIME=${OCELLI_ONNXRUNTIME:-${CARGO_TARGET_DIR:-target}/release}
exec python3 bench/scale_out.py --photos "$photos" "$@"
