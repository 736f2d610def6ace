#!/usr/bin/env bash
# Prints how many packages the `ocelli` binary is built from, its own included, and fails above the budget: each one is
# code that somebody must trust, compile and update. Build and development dependencies are not counted, for nobody runs
# them in production.
set -euo pipefail

readonly BUDGET=300

count=$(cargo tree --locked --package ocelli --edges normal --prefix none |
    sed -e 's/ (\*)//' -e 's/ (proc-macro)//' | sort -u | wc -l)
printf 'packages in the default build of ocelli: %d of %d\n' "$count" "$BUDGET"
if [ "$count" -gt "$BUDGET" ]; then
    printf 'Over budget. See what brings them in with: cargo tree --package ocelli --edges normal\n' >&2
    exit 1
fi
