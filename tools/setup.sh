#!/usr/bin/env bash
# Installs the system's packages that building and checking Ocelli needs and this machine lacks. Safe to repeat.
#
#   tools/setup.sh build-tools   cmake, and nasm on x86-64: they build libjpeg-turbo with its SIMD code
#   tools/setup.sh python-venv   what Debian's python3 lacks to make virtual environments
#   tools/setup.sh test-tools    a Redis for tests to start, and openssl for their certificates
set -euo pipefail

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Installs Debian packages when this user may; otherwise says what to install. It never waits for a password that
# nobody is there to type.
install_packages() {
    local run=()
    if ! command -v apt-get >/dev/null; then
        fail "missing: $*. Install them with this system's package manager (for example 'brew install $*' or" \
            "'dnf install $*'), then run this again."
    elif [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            fail "missing: $*. Ask an administrator to run 'apt-get install $*', then run this again."
        fi
        run=(sudo)
    fi
    printf 'setup: installing %s with apt-get\n' "$*"
    run+=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq)
    "${run[@]}" update
    "${run[@]}" install -y --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*. Its message is above; install them by hand, then run this again."
}

build_tools() {
    local missing=()
    command -v cmake >/dev/null || missing+=(cmake)
    # Only x86-64 has hand-written assembly in libjpeg-turbo; elsewhere its SIMD code is C.
    case "$(uname -m)" in
        x86_64 | amd64) command -v nasm >/dev/null || missing+=(nasm) ;;
    esac
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# Debian's package redis-server would start a service on the usual port. redis-tools starts nothing, and its
# redis-check-rdb is the very program that redis-server is a link to.
test_tools() {
    local missing=()
    command -v redis-server >/dev/null || command -v redis-check-rdb >/dev/null || missing+=(redis-tools)
    command -v openssl >/dev/null || missing+=(openssl)
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

case "$*" in
    build-tools) build_tools ;;
    python-venv) install_packages python3-venv ;;
    test-tools) test_tools ;;
    *) fail "usage: tools/setup.sh build-tools | python-venv | test-tools" ;;
esac
