#!/usr/bin/env bash
# Lints the shell scripts and Python files that git tracks or would track.
#
#   tools/ci/scripts.sh TOOLS_FOLDER   where the pinned shellcheck and ruff are
set -euo pipefail

readonly TOOLS=$1

# A script is known by its name or, where it has none of the usual ones, by its first line.
shell=() python=()
while IFS= read -r -d '' file; do
    [ -f "$file" ] || continue
    case "${file##*/}" in
        *.py) python+=("$file") ;;
        *.sh) shell+=("$file") ;;
        *.*) ;;
        *) if head -n 1 "$file" | grep -aqE '^#!.*[/ ](ba)?sh$'; then shell+=("$file"); fi ;;
    esac
done < <(git ls-files -z --cached --others --exclude-standard)

printf 'shell scripts: %d, Python files: %d\n' "${#shell[@]}" "${#python[@]}"
"$TOOLS/shellcheck" --external-sources "${shell[@]}"
"$TOOLS/ruff" check --config tools/ci/ruff.toml --no-cache "${python[@]}"
"$TOOLS/ruff" format --config tools/ci/ruff.toml --no-cache --check "${python[@]}"
