#!/usr/bin/env bash
# Checks every file that git tracks or would track for what no linter checks:
#   - a source file has at most 500 lines (unless one of its first five says @generated);
#   - nothing names a package registry's host (package managers know their own, mirrors differ) or a folder of the
#     machine that it was written on;
#   - no text, comment or name uses a phrase that tools/ci/phrases.txt lists, because it has a plainer form;
#   - the root contains only the expected entries, and no file is a symbolic link.
set -euo pipefail

readonly MAX_LINES=500
# In brackets, so that this file does not match itself.
readonly FORBIDDEN='crates[.]io|pypi[.]org|pythonhosted[.]org|deb[.]debian[.]org|registry[.]npmjs|/[w]ork/(main|shared)|/[r]oot/'
# The entries of the root.
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
                complain "$file: $lines lines, $MAX_LINES at most; split it by the responsibilities of its parts"
            fi
            ;;
    esac
    # Cargo writes the registry's address into the lock file itself.
    if [ "$file" != Cargo.lock ] && found=$(grep -nIE -m 3 "$FORBIDDEN" "$file"); then
        complain "$file: names a registry host or a folder of the author's machine:" $'\n'"$found"
    fi
done < <(git ls-files -z --cached --others --exclude-standard)

git ls-files -z --cached --others --exclude-standard |
    xargs -0 python3 tools/ci/phrases.py tools/ci/phrases.txt || status=1

exit "$status"
