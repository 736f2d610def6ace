#!/usr/bin/env bash
# Checks which crates each crate of ours must not reach, directly or through others (ARCHITECTURE.md says why). Only
# what ends up in the binary counts, not tests. Then checks the order of the folders of crates/ocelli/src.
set -euo pipefail

status=0

# must_not_reach CRATE NAME...
must_not_reach() {
    local crate=$1 reached name
    shift
    reached=$(cargo tree --locked --package "$crate" --all-features --edges normal --prefix none --format '{p}' |
        cut -d ' ' -f 1 | sort -u)
    for name in "$@"; do
        if grep -qxF "$name" <<<"$reached"; then
            printf '%s reaches %s; see: cargo tree --package %s --invert %s\n' "$crate" "$name" "$crate" "$name" >&2
            status=1
        fi
    done
}

# Pixels: no runtime, no engine, no protocol.
must_not_reach ocelli-vision tokio hyper ort ocelli-engine ocelli-bench ocelli
# Engines: no runtime, no pictures, no protocol.
must_not_reach ocelli-engine tokio hyper image turbojpeg fast_image_resize ocelli-vision ocelli-bench ocelli
# The load generator speaks only the wire: it measures any server, so it must not share code with ours.
must_not_reach ocelli-bench ort ocelli-engine ocelli-vision ocelli

python3 tools/ci/module_order.py || status=1

exit "$status"
