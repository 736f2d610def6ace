#!/usr/bin/env bash
# Installs the missing system packages for building and checking Ocelli. Safe to repeat.
#
#   tools/setup.sh build-tools   cmake, and nasm on x86-64, to build libjpeg-turbo with SIMD
#   tools/setup.sh python-venv   the part of Debian's python3 that creates virtual environments
#   tools/setup.sh test-tools    a Redis server for tests, and openssl for their certificates
#   tools/setup.sh deploy-tools  tools that check the examples in deploy/, without starting services
set -euo pipefail

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Sets the prefix that runs a command as root, or fails with the packages to install. It never waits for a password
# without a terminal.
root=()
need_root() {
    if ! command -v apt-get >/dev/null; then
        fail "missing: $*. Install them with this system's package manager (for example 'brew install $*' or" \
            "'dnf install $*'), then run this again."
    elif [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            fail "missing: $*. Ask an administrator to run 'apt-get install $*', then run this again."
        fi
        root=(sudo)
    fi
}

# Installs Debian packages.
install_packages() {
    need_root "$@"
    printf 'setup: installing %s with apt-get\n' "$*"
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq)
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*. Its message is above; install them by hand, then run this again."
}

# Installs Debian packages without starting their services.
install_programs() {
    local policy=/usr/sbin/policy-rc.d
    need_root "$@"
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2064 # what is removed is known now
        trap "${root[*]} rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" install -m 755 /dev/stdin "$policy"
    fi
    install_packages "$@"
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

deploy_tools() {
    local missing=() program
    PATH=$PATH:/usr/sbin
    # By program and package.
    for program in nginx:nginx apache2:apache2-bin systemd-analyze:systemd docker-compose:docker-compose; do
        command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || install_programs "${missing[@]}"
}

case "$*" in
    build-tools) build_tools ;;
    python-venv) install_packages python3-venv ;;
    test-tools) test_tools ;;
    deploy-tools) deploy_tools ;;
    *) fail "usage: tools/setup.sh build-tools | python-venv | test-tools | deploy-tools" ;;
esac
