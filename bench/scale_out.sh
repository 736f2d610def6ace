#!/usr/bin/env bash
# Compares web and worker processes over Redis with `ocelli serve`. `make bench-scale-out` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${BENCH_PHOTOS:-../shared/data/evaluation}
if [[ ! -d $photos ]]; then
    echo "skipped: the folder of photos, $photos, is missing; set BENCH_PHOTOS to another folder" >&2
    exit 0
fi
export OCELLI_ONNXRUNTIME=${OCELLI_ONNXRUNTIME:-${CARGO_TARGET_DIR:-target}/release}
exec python3 bench/scale_out.py --photos "$photos" "$@"
