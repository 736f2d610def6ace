#!/bin/sh
# Puts the pinned ONNX Runtime library into a folder, from its wheel on PyPI:
#
#     tools/fetch-onnxruntime.sh DEST_DIR
#
# DEST_DIR then holds libonnxruntime.so and, beside it, its licence and third-party notices. Wheel and library are
# both checked against the hashes in tools/onnxruntime.pin. Nothing is done when the library is there already and
# has the right hash. Needs python3 with pip, any version: the wheel is only unpacked, never installed.
set -eu

fail() {
    echo "fetch-onnxruntime: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: tools/fetch-onnxruntime.sh DEST_DIR"
dest=$1
pin=$(dirname "$0")/onnxruntime.pin

machine=$(uname -m)
case $machine in arm64) machine=aarch64 ;; esac
[ "$(uname -s)" = Linux ] || fail "only Linux is pinned; install onnxruntime and set OCELLI_ONNXRUNTIME"
version=$(sed -n 's/^version *//p' "$pin")
pinned=$(grep "^$machine " "$pin") ||
    fail "no wheel is pinned for $machine; install onnxruntime and set OCELLI_ONNXRUNTIME"
# shellcheck disable=SC2086 # the fields are words
set -- $pinned
platform=$2 wheel_hash=$3 library_hash=$4

has_hash() {
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]
}

library=$dest/libonnxruntime.so
notices="onnxruntime-LICENSE onnxruntime-ThirdPartyNotices.txt"
is_complete() {
    has_hash "$library" "$library_hash" || return 1
    for notice in $notices; do
        [ -s "$dest/$notice" ] || return 1
    done
}
is_complete && exit 0

python=$(command -v python3) || fail "python3 is missing; install it with pip (on Debian: apt-get install python3-pip)"
"$python" -m pip --version >/dev/null 2>&1 || fail "pip is missing; install it (on Debian: apt-get install python3-pip)"

mkdir -p "$dest"
# What a killed run left; a run that is still going is younger.
find "$dest" -maxdepth 1 -name '.fetch-onnxruntime.*' -mmin +60 -exec rm -rf {} +
# In the destination, so that the final renames cannot cross file systems.
work=$(mktemp -d "$dest/.fetch-onnxruntime.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

echo "fetch-onnxruntime: fetching onnxruntime $version for $machine" >&2
echo "onnxruntime==$version --hash=sha256:$wheel_hash" >"$work/requirements.txt"
# The interpreter's version is named, so that every machine asks for the one wheel whose hash is pinned.
PIP_REQUIRE_VIRTUALENV=0 "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --implementation cp --python-version 3.11 --abi cp311 --platform "$platform" \
    --dest "$work" --requirement "$work/requirements.txt" ||
    fail "pip could not get onnxruntime $version (see above); check the network and pip's index settings"

"$python" - "$work" "$version" <<'PYTHON'
import pathlib, shutil, sys, zipfile

work, version = pathlib.Path(sys.argv[1]), sys.argv[2]
[wheel] = work.glob("onnxruntime-*.whl")
members = {
    f"onnxruntime/capi/libonnxruntime.so.{version}": "libonnxruntime.so",
    "onnxruntime/LICENSE": "onnxruntime-LICENSE",
    "onnxruntime/ThirdPartyNotices.txt": "onnxruntime-ThirdPartyNotices.txt",
}
with zipfile.ZipFile(wheel) as archive:
    for member, name in members.items():
        with archive.open(member) as source, open(work / name, "wb") as target:
            shutil.copyfileobj(source, target)
PYTHON
has_hash "$work/libonnxruntime.so" "$library_hash" || fail "the library in the wheel is not the pinned one"
chmod 755 "$work/libonnxruntime.so"

# The library comes last: where it is, the rest is too.
for name in $notices libonnxruntime.so; do
    mv -f "$work/$name" "$dest/$name"
done
echo "fetch-onnxruntime: $library is ready" >&2
