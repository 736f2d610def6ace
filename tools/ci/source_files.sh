#!/usr/bin/env bash
# Checks what no linter checks, over every file that git tracks or would track:
#   - a source file has at most 500 lines (unless one of its first five says @generated);
#   - nothing names a package registry's host (package managers know their own, mirrors differ) or a folder of the
#     machine that it was written on;
#   - no text uses one of a few phrases that have plainer forms;
#   - the root holds only what belongs there, and nothing is a symbolic link.
set -euo pipefail

readonly MAX_LINES=500
# In brackets, so that this file does not match itself.
readonly FORBIDDEN='crates[.]io|pypi[.]org|pythonhosted[.]org|deb[.]debian[.]org|registry[.]npmjs|/[w]ork/(main|shared)|/[r]oot/'
# In brackets, as above. "if left ou[t]" is "[default: ...]", "to be ha[d]" is "available".
readonly STILTED='if left ou[t]|to be ha[d]|as may b[e]|of its own accor[d]'
# What the root may hold.
readonly ROOT=' .ci .gitignore ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md Cargo.lock Cargo.toml LICENSE-APACHE LICENSE-MIT
 Makefile README.md SECURITY.md bench clippy.toml crates deny.toml deploy docs examples models rustfmt.toml tools '

status=0
complain() {
    printf '%s\n' "$*" >&2
    status=1
}

while IFS= read -r -d '' file; do
    if [[ " ${ROOT//$'\n'/ } " != *" ${file%%/*} "* ]]; then
        complain "$file: ${file%%/*} does not belong at the root; move it into a folder, or add it to tools/ci/source_files.sh"
    fi
    if [ -L "$file" ]; then
        complain "$file: is a symbolic link; commit the file itself"
        continue
    fi
    # Deleted but not yet staged: there is no text to check.
    if [ ! -f "$file" ]; then
        continue
    fi
    case "$file" in
        *.rs | *.py | *.sh | *.js | *.ts)
            lines=$(wc -l <"$file")
            if [ "$lines" -gt "$MAX_LINES" ] && ! head -n 5 "$file" | grep -q '@generated'; then
                complain "$file: $lines lines, $MAX_LINES at most: split it by what its parts own"
            fi
            ;;
    esac
    # Cargo writes the registry's address into the lock file itself.
    if [ "$file" != Cargo.lock ] && found=$(grep -nIE -m 3 "$FORBIDDEN" "$file"); then
        complain "$file: names a registry host or a folder of somebody's machine:" $'\n'"$found"
    fi
    if found=$(grep -nIE -m 3 "$STILTED" "$file"); then
        complain "$file: say it in plainer words, as tools/ci/source_files.sh suggests:" $'\n'"$found"
    fi
done < <(git ls-files -z --cached --others --exclude-standard)

exit "$status"
