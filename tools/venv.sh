#!/usr/bin/env bash
# Makes the virtual environment DIR with exactly the packages of REQUIREMENTS, unless it is there already, whole:
#
#   tools/venv.sh DIR REQUIREMENTS [PIP_OPTION..]
#
# PYTHON names another interpreter than python3.
set -euo pipefail

dir=$1 requirements=$2
shift 2
python=${PYTHON:-python3}
stamp=$dir/.complete

command -v "$python" >/dev/null || {
    echo "venv: $python is missing: install Python 3.11 or newer, then run this again" >&2
    exit 1
}

# What it is made from. Another place or another interpreter make it another environment, for it holds absolute paths
# and compiled code.
wanted=$(
    "$python" - "$dir" "$requirements" "$@" <<'PYTHON'
import hashlib, os, sys
dir, requirements, *options = sys.argv[1:]
made_from = [os.path.abspath(dir), os.path.realpath(sys.executable), sys.version, open(requirements).read(), *options]
print(hashlib.sha256("\0".join(made_from).encode()).hexdigest())
PYTHON
)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "venv: making $dir from $requirements" >&2
# Debian's python3 comes without the part that puts pip into an environment.
"$python" -c 'import ensurepip' 2>/dev/null || "$(dirname "$0")/setup.sh" python-venv
"$python" -m venv --clear "$dir"
# Where the file gives hashes, pip insists on them.
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --requirement "$requirements" "$@" || {
    echo "venv: pip could not install $requirements into $dir (see above)" >&2
    exit 1
}
# Last and in one step: a stamp that exists vouches for everything before it.
printf '%s\n' "$wanted" >"$stamp.partial"
mv "$stamp.partial" "$stamp"
