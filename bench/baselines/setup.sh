#!/usr/bin/env bash
# Creates .venv-bench for the baselines, unless it is up to date.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/venv.sh .venv-bench bench/baselines/requirements.txt
