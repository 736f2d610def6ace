#!/usr/bin/env bash
# Prints what many models in one process cost, and what loading one costs the others. `make bench-models` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${BENCH_PHOTOS:-../shared/data/evaluation}
if [[ ! -d $photos ]]; then
    echo "skipped: $photos, the photos to measure with, is absent (BENCH_PHOTOS names another folder)" >&2
    exit 0
fi
tools/venv.sh .venv-model tools/requirements-model.txt
export OCELLI_ONNXRUNTIME=${OCELLI_ONNXRUNTIME:-${CARGO_TARGET_DIR:-target}/release}
exec .venv-model/bin/python bench/models.py --photos "$photos" "$@"
