#!/usr/bin/env bash
# Compares Ocelli with the ceiling and a Python server on the same photos, then runs scale_out.sh and models.sh.
# `make bench` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${BENCH_PHOTOS:-../shared/data/evaluation}
if [[ ! -d $photos ]]; then
    echo "skipped: the folder of photos, $photos, is missing; set BENCH_PHOTOS to another folder" >&2
    exit 0
fi
bench/baselines/setup.sh
tools/make-builtin-model.sh --float32-only >/dev/null
cargo build --release --locked --package ocelli --package ocelli-engine --package ocelli-vision --bins --examples
export OCELLI_ONNXRUNTIME=${OCELLI_ONNXRUNTIME:-${CARGO_TARGET_DIR:-target}/release}
.venv-bench/bin/python bench/run.py --photos "$photos" "$@"
bench/scale_out.sh
exec bench/models.sh
