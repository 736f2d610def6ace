#!/usr/bin/env bash
# Installs what building and checking Ocelli needs and this machine lacks. Safe to repeat, and safe to interrupt: each
# command starts by looking at what is really there.
#
#   tools/setup.sh build-tools               cmake, and nasm on x86-64: they build libjpeg-turbo with its SIMD code
#   tools/setup.sh venv FOLDER REQUIREMENTS  a Python virtual environment holding exactly that file
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

# What a finished environment was made from. Moving the folder or changing the interpreter invalidates it, because an
# environment holds absolute paths and compiled code.
fingerprint() {
    python3 - "$1" "$2" <<'PYTHON'
import hashlib, os, sys
folder, requirements = sys.argv[1:]
made_from = [os.path.abspath(folder), os.path.realpath(sys.executable), sys.version, open(requirements).read()]
print(hashlib.sha256("\0".join(made_from).encode()).hexdigest())
PYTHON
}

venv() {
    local folder=$1 requirements=$2 stamp=$1/.complete wanted
    command -v python3 >/dev/null || fail "python3 is missing: install Python 3.10 or newer, then run this again."
    wanted=$(fingerprint "$folder" "$requirements")
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    # Debian's python3 comes without the part that puts pip into an environment.
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    printf 'setup: making %s from %s\n' "$folder" "$requirements"
    python3 -m venv --clear "$folder"
    # Where the file gives hashes, pip insists on them.
    "$folder/bin/python" -m pip --disable-pip-version-check --no-input install --quiet \
        --requirement "$requirements" ||
        fail "pip could not install $requirements into $folder; its message is above."
    # Last and in one step: a stamp that exists vouches for everything before it.
    printf '%s\n' "$wanted" >"$stamp.partial"
    mv "$stamp.partial" "$stamp"
}

case "${1-}/$#" in
    build-tools/1) build_tools ;;
    venv/3) venv "$2" "$3" ;;
    *) fail "usage: tools/setup.sh build-tools | tools/setup.sh venv FOLDER REQUIREMENTS" ;;
esac
