#!/usr/bin/env bash
# Prints how many packages the `ocelli` binary is built from, including its own, and fails above the budget: each one is
# code that must be trusted, compiled and updated. Build and development dependencies do not count, because they do not
# run in production.
set -euo pipefail

readonly BUDGET=300

count=$(cargo tree --locked --package ocelli --edges normal --prefix none |
    sed -e 's/ (\*)//' -e 's/ (proc-macro)//' | sort -u | wc -l)
printf 'packages in the default build of ocelli: %d of %d\n' "$count" "$BUDGET"
if [ "$count" -gt "$BUDGET" ]; then
    printf 'Over budget. See what brings them in with: cargo tree --package ocelli --edges normal\n' >&2
    exit 1
fi
