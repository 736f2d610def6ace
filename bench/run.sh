#!/usr/bin/env bash
# Prints one table from one run: the ceiling, Ocelli and a Python server, on the same photos; then that of scale_out.sh.
# `make bench` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${BENCH_PHOTOS:-../shared/data/evaluation}
if [[ ! -d $photos ]]; then
    echo "skipped: $photos, the photos to measure with, is absent (BENCH_PHOTOS names another folder)" >&2
    exit 0
fi
bench/baselines/setup.sh
tools/make-builtin-model.sh --float32-only >/dev/null
cargo build --release --locked --package ocelli --package ocelli-engine --package ocelli-vision --bins --examples
export OCELLI_ONNXRUNTIME=${OCELLI_ONNXRUNTIME:-${CARGO_TARGET_DIR:-target}/release}
.venv-bench/bin/python bench/run.py --photos "$photos" "$@"
bench/scale_out.sh
exec bench/models.sh
