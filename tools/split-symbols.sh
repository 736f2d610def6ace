#!/bin/sh
# Moves the debug information of a program into a file beside it:
#
#     tools/split-symbols.sh PROGRAM
#
# PROGRAM.debug then holds it, with the file and line of every address. PROGRAM keeps the names of its functions and a link
# to that file. Rust's backtraces and debuggers follow the link as long as both are in one folder. Nothing is done when the
# program has been split already. Needs objcopy and readelf, which come with a C compiler.
set -eu

fail() {
    echo "split-symbols: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: tools/split-symbols.sh PROGRAM"
program=$1
debug=$program.debug

sections=$(readelf --section-headers --wide "$program") || fail "$program is not a program"
case $sections in
*.gnu_debuglink*)
    [ -f "$debug" ] || fail "$debug is missing; remove $program and build it again"
    exit 0
    ;;
esac

# In the same folder, so that the renames are atomic: the program may be running. The name of the file in the link is that
# of the final one.
work=$(mktemp -d "$(dirname "$program")/.split-symbols.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
name=$(basename "$program")
objcopy --only-keep-debug --compress-debug-sections=zlib "$program" "$work/$name.debug"
chmod 644 "$work/$name.debug"
objcopy --strip-debug --add-gnu-debuglink="$work/$name.debug" "$program" "$work/$name"
mv -f "$work/$name.debug" "$debug"
mv -f "$work/$name" "$program"
