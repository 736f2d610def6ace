#!/usr/bin/env bash
# Measures many models in one process, and loading a model beside others. `make bench-models` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

photos=${BENCH_PHOTOS:-../shared/data/evaluation}
if [[ ! -d $photos ]]; then
    echo "skipped: the folder of photos, $photos, is missing; set BENCH_PHOTOS to another folder" >&2
    exit 0
fi
tools/venv.sh .venv-model tools/requirements-model.txt
export OCELLI_ONNXRUNTIME=${OCELLI_ONNXRUNTIME:-${CARGO_TARGET_DIR:-target}/release}
exec .venv-model/bin/python bench/models.py --photos "$photos" "$@"
