"""Checks that nothing in deploy/ runs with more rights than it needs: an unprivileged user, a root file system that cannot be
written, no new privileges, no capabilities, and a filter of system calls.

    python tools/ci/deploy_hardening.py    from the repository's root

Docker applies its default seccomp profile by itself, so of Compose services it is only demanded that they keep it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

DEPLOY = Path("deploy")
UNIT_LINES = [
    "DynamicUser=yes",
    "CapabilityBoundingSet=",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "PrivateUsers=yes",
    "ProtectHome=yes",
    "ProtectKernelTunables=yes",
    "ProtectSystem=strict",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
]
# nginx starts as root, takes its workers' user, and needs these three for it.
PROXY, PROXY_CAPABILITIES = "proxy", {"CHOWN", "SETGID", "SETUID"}


def unit(text: str) -> Iterator[str]:
    """What a systemd unit lacks."""
    lines = text.splitlines()
    yield from (f"lacks {line}" for line in UNIT_LINES if line not in lines)
    # A later line would take back what an earlier one says.
    for line in lines:
        key = line.split("=")[0]
        wanted = [wanted for wanted in UNIT_LINES if wanted.startswith(f"{key}=")]
        if wanted and line not in wanted:
            yield f"has {line}"


def pod(spec: dict) -> Iterator[str]:
    """What the pods of a Kubernetes template lack."""
    context = spec.get("securityContext") or {}
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root: set runAsNonRoot and runAsUser"
    if (context.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "has no seccompProfile of type RuntimeDefault"
    if spec.get("automountServiceAccountToken") is not False:
        yield "gets a token of the cluster: set automountServiceAccountToken to false"
    yield from (f"has {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own, name = container.get("securityContext") or {}, container["name"]
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: lacks allowPrivilegeEscalation: false"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: lacks readOnlyRootFilesystem: true"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: does not drop all capabilities"
        others = own.keys() - {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}
        yield from (f"{name}: has {key}, which the pod's context must decide" for key in sorted(others))


def service(name: str, service: dict) -> Iterator[str]:
    """What a service of Compose lacks."""
    options = service.get("security_opt", [])
    if service.get("read_only") is not True:
        yield "lacks read_only: true"
    if service.get("cap_drop") != ["ALL"]:
        yield "lacks cap_drop: [ALL]"
    if "no-new-privileges:true" not in options:
        yield "lacks no-new-privileges:true"
    yield from (f"has {option}" for option in options if "unconfined" in option)
    if service.get("privileged"):
        yield "has privileged"
    if set(service.get("cap_add", [])) - (PROXY_CAPABILITIES if name == PROXY else set()):
        yield f"adds capabilities: {service['cap_add']}"
    user = str(service.get("user", "0")).split(":")[0]
    if name != PROXY and (not user.isdecimal() or int(user) == 0):
        yield "may run as root: set user to numbers"


def dockerfile(text: str) -> Iterator[str]:
    """What the last stage of a Dockerfile lacks."""
    stage = re.split(r"^FROM ", text, flags=re.M)[-1]
    users = re.findall(r"^USER (\S+)", stage, re.M)
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        yield "may run as root: end with USER and numbers, which runAsNonRoot can check"


def complaints() -> Iterator[str]:
    import yaml  # Only here, so that the tests of the above need no package.

    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        yield from (f"{path}: {problem}" for problem in unit(path.read_text()))
    for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")):
        for thing in yaml.safe_load_all(path.read_text()):
            template = thing.get("spec", {}).get("template")
            if template:
                yield from (f"{path}: {thing['kind']}: {problem}" for problem in pod(template["spec"]))
    path = DEPLOY / "compose.yaml"
    for name, found in yaml.safe_load(path.read_text())["services"].items():
        yield from (f"{path}: {name}: {problem}" for problem in service(name, found))
    path = DEPLOY / "Dockerfile"
    yield from (f"{path}: {problem}" for problem in dockerfile(path.read_text()))


if __name__ == "__main__":
    found = list(complaints())
    for complaint in found:
        print(complaint, file=sys.stderr)
    sys.exit(bool(found))
