#!/usr/bin/env bash
# Makes .venv-bench, in which the baselines run; does nothing when it is there and up to date.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/venv.sh .venv-bench bench/baselines/requirements.txt
