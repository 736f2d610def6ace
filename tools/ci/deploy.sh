#!/usr/bin/env bash
# Checks the examples of deploy/, each with the tool that will read it where a registry has that tool, else with a
# linter or a schema. Nothing that this starts listens beyond the loopback, or outlives it.
#
#   tools/ci/deploy.sh TOOLS_FOLDER   where the pinned Python and linters are
#
# Needs what `tools/setup.sh deploy-tools` and `tools/test-servers.sh` install.
set -euo pipefail

tools=$(cd "$1" && pwd)
readonly tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# check NAME COMMAND...: prints what the command says only if it fails.
check() {
    local name=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        printf 'deploy: %s: good\n' "$name"
    else
        printf 'deploy: %s: failed\n' "$name" >&2
        cat "$work/said" >&2
        status=1
    fi
}

# Duplicate keys, for one, which the schemas below never see.
yaml_rules='{extends: default, rules: {document-start: disable, comments-indentation: disable, line-length: {max: 160},
    braces: {max-spaces-inside: 0}, comments: {min-spaces-from-content: 1}}}'

# An object of a kind or version that it has no schema of is only worth a warning to it.
# shellcheck disable=SC2329 # check calls it
kubernetes() {
    local said
    said=$("$tools/kubernetes-validate" --strict --quiet deploy/kubernetes/*.yaml 2>&1) && [ -z "$said" ] && return
    printf '%s\n' "$said"
    return 1
}

# Units name programs that this machine need not have: they are judged in a tree where those are there.
# shellcheck disable=SC2329 # check calls it
units() {
    local root=$work/root program
    mkdir -p "$root/etc/systemd/system" "$root/opt/ocelli"
    cp deploy/systemd/*.service "$root/etc/systemd/system/"
    install -m 755 /dev/null "$root/opt/ocelli/ocelli"
    # What every unit depends on by itself, and what ours name.
    for program in sysinit basic shutdown network-online multi-user; do
        printf '[Unit]\nDescription=%s\n' "$program" >"$root/etc/systemd/system/$program.target"
    done
    local unit said
    for unit in ocelli-web@5001 ocelli-worker@5101; do
        # It exits with 0 although it warns, of unknown settings among others.
        said=$(systemd-analyze verify --man=no --root="$root" "$unit.service" 2>&1) || {
            printf '%s\n' "$said"
            return 1
        }
        if grep -F "ocelli-" <<<"$said"; then return 1; fi
        # From 0, shut off, to 100, wide open.
        systemd-analyze security --offline=true --root="$root" --threshold=20 --no-pager "$unit.service" || return 1
    done
}

check 'YAML' "$tools/yamllint" --strict -d "$yaml_rules" deploy
check 'compose.yaml, by docker-compose' \
    env VALKEY_PASSWORD=secret docker-compose --env-file deploy/compose.env.example -f deploy/compose.yaml config --quiet
check 'compose.yaml, by the schema of today' \
    "$tools/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose.yaml
check 'Dockerfile' "$tools/hadolint" --failure-threshold style deploy/Dockerfile
check 'Kubernetes, by its schemas' kubernetes
check 'names and figures' "$tools/python" tools/ci/deploy_names.py
check 'least rights' "$tools/python" tools/ci/deploy_hardening.py
check 'systemd' units
check 'Valkey, running' "$tools/python" tools/ci/deploy_valkey.py
check 'nginx and Apache, running' "$tools/python" tools/ci/deploy_proxies.py

exit "$status"
