#!/usr/bin/env bash
# Makes the virtual environment DIR with exactly the packages of REQUIREMENTS, unless it is there already.
# A stamp with the checksum of the requirements tells: tools/venv.sh DIR REQUIREMENTS
set -euo pipefail

dir=$1 requirements=$2
python=${PYTHON:-python3}
stamp="$dir/.requirements.sha256"
wanted=$(sha256sum <"$requirements")

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && "$dir/bin/python" -c ''; then
    exit 0
fi
echo "making $dir from $requirements" >&2
if ! "$python" -m venv --clear "$dir"; then
    echo "$python cannot make a virtual environment: install Debian's python3-venv, or name another Python in PYTHON" >&2
    exit 1
fi
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
printf '%s\n' "$wanted" >"$stamp"
