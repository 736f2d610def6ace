#!/usr/bin/env bash
# Prints the accuracy of target/release/ocelli over HTTP beside that of the float32 model in Python.
# Needs the ImageNet photos of ../shared/data, which may not be published: without them it says so and succeeds.
set -euo pipefail
cd "$(dirname "$0")/.."

data=../shared/data
binary=target/release/ocelli
start_limit_s=30

if [[ ! -d $data/evaluation ]]; then
    echo "skipped: $data/evaluation, the photos to measure accuracy on, is absent" >&2
    exit 0
fi
if [[ ! -x $binary ]]; then
    echo "$binary is missing: run 'make build' first" >&2
    exit 1
fi
tools/make-builtin-model.sh --float32-only >/dev/null

log=$(mktemp)
"$binary" serve --listen 127.0.0.1:0 2>"$log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -f "$log"' EXIT

url=
deadline=$((SECONDS + start_limit_s))
while [[ -z $url ]]; do
    if grep -q -m1 ' ready;' "$log"; then
        url=$(grep -o -m1 'listening on http://[0-9.:]*' "$log" | cut -d' ' -f3)
    fi
    if ! kill -0 "$server" 2>/dev/null || ((SECONDS > deadline)); then
        echo "the server did not start within $start_limit_s s:" >&2
        cat "$log" >&2
        exit 1
    fi
    [[ -n $url ]] || sleep 0.05
done

.venv-model/bin/python tools/accuracy.py --url "$url" --photos "$data/evaluation" \
    --classes "$data/imagenet-1k-classes.tsv" --float32 target/models/efficientnet-lite0-fp32.onnx
