"""Checks in deploy/ what no schema knows: names that refer to one another, and figures that repeat those of the program.

    python tools/ci/deploy_names.py    from the repository's root

KEDA's own schema is on no registry, so the fields of its objects that we use are listed here, from its documentation.
"""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

import yaml

DEPLOY = Path("deploy")
MODEL = Path("models/efficientnet-lite0")
CLI = "\n".join(
    path.read_text() for path in [Path("crates/ocelli/src/cli.rs"), *sorted(Path("crates/ocelli/src/cli").glob("*.rs"))]
)
# deploy/README.md creates them.
SECRETS = {"valkey": {"password"}}
# Defaults of options, and the settings that must match or exceed them.
REPEATED = [
    (r'"OCELLI_MAX_BODY", default_value = "32MiB"', "nginx/proxy.conf", "client_max_body_size 32m;"),
    (r'"OCELLI_MAX_BODY", default_value = "32MiB"', "apache/ocelli.conf", "-gt 33554432"),
    (r'"OCELLI_MAX_DEADLINE", default_value = "60s"', "nginx/proxy.conf", "proxy_read_timeout 75s;"),
    (r'"OCELLI_MAX_DEADLINE", default_value = "60s"', "apache/ocelli.conf", "timeout=75"),
    (r'"OCELLI_IDLE_TIMEOUT", default_value = "75s"', "nginx/ocelli.conf", "keepalive_timeout 60s;"),
    (r'"OCELLI_IDLE_TIMEOUT", default_value = "75s"', "apache/ocelli.conf", "ttl=60"),
    (r'"OCELLI_MAX_CONNECTIONS", [^\n]*4096', "systemd/ocelli-web@.service", "LimitNOFILE=16384"),
]
KEDA_FIELDS = {
    "TriggerAuthentication": {"secretTargetRef"},
    "ScaledObject": {"scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount", "advanced", "triggers"},
    "trigger": {"type", "metadata", "authenticationRef"},
    "redis-streams": {"address", "stream", "streamLength"},
}

complaints = []


def demand(holds, complaint):
    if not holds:
        complaints.append(complaint)


def seconds(text):
    """The seconds of a duration such as 45s, in the format of Ocelli, Compose and systemd."""
    return int(re.fullmatch(r"(\d+)s", str(text)).group(1))


# Maximum shutdown time of the parts behind the connections.
PARTS = 20


def drain(environment):
    """Maximum shutdown time of a process with this environment; the longest default delay is a worker's 2 s."""
    return seconds(environment.get("OCELLI_DRAIN_DELAY", "2s")) + seconds(environment["OCELLI_DRAIN_TIMEOUT"]) + PARTS


def selects(selector, labels):
    return selector.items() <= labels.items()


def builtin_model():
    """The prefix of the names of the built-in model's streams, as in `ModelKeys` of the Redis broker."""
    digest = hashlib.sha256()
    for file in ("model.toml", "model.onnx", "labels.txt"):
        content = (MODEL / file).read_bytes()
        digest.update(len(content).to_bytes(8, "little") + content)
    manifest = tomllib.loads((MODEL / "model.toml").read_text())
    return f"ocelli:{{{manifest['name']}}}:{manifest['version']}:{digest.hexdigest()[:16]}"


def check_pod(where, pod, config_maps):
    [container] = pod["containers"]
    environment = {entry["name"]: entry for entry in container["env"]}
    ports = {port["name"] for port in container["ports"]}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {})
        port = probe.get("httpGet", probe.get("tcpSocket", {})).get("port")
        demand(port is None or port in ports, f"{where}: {name} asks the port {port}, which is not one of {ports}")
    for entry in environment.values():
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            key_is_there = reference["key"] in SECRETS.get(reference["name"], ())
            demand(
                key_is_there,
                f"{where}: README.md does not create the secret {reference['name']} with {reference['key']}",
            )
        for name in re.findall(r"\$\((\w+)\)", entry.get("value", "")):
            before = list(environment)[: list(environment).index(entry["name"])]
            demand(name in before, f"{where}: {entry['name']} uses {name}, which must be defined above it")
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for volume in pod.get("volumes", []):
        name = volume.get("configMap", {}).get("name")
        demand(name is None or name in config_maps, f"{where}: there is no ConfigMap {name}")
    for mount in container.get("volumeMounts", []):
        demand(mount["name"] in volumes | {"data"}, f"{where}: there is no volume {mount['name']}")
    if "OCELLI_DRAIN_TIMEOUT" in environment:
        longest = drain({name: entry.get("value") for name, entry in environment.items()})
        grace = pod["terminationGracePeriodSeconds"]
        demand(grace > longest, f"{where}: stops within {longest} s, but is killed after {grace} s")


def check_kubernetes(objects):
    named = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    demand(len(named) == len(objects), "kubernetes: two objects of one kind have the same name")
    config_maps = {name for kind, name in named if kind == "ConfigMap"}
    pods = {}
    for (kind, name), o in named.items():
        where = f"kubernetes: {kind} {name}"
        demand(kind == "Namespace" or o["metadata"].get("namespace") == "ocelli", f"{where}: not in namespace ocelli")
        template = o.get("spec", {}).get("template")
        if template:
            pods[name] = template
            chosen = selects(o["spec"]["selector"]["matchLabels"], template["metadata"]["labels"])
            demand(chosen, f"{where}: does not select its own pods")
            for spread in template["spec"].get("topologySpreadConstraints", []):
                chosen = selects(spread["labelSelector"]["matchLabels"], template["metadata"]["labels"])
                demand(chosen, f"{where}: spreads other pods than its own")
            check_pod(where, template["spec"], config_maps)
    for (kind, name), o in named.items():
        spec = o.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector", {}))
        selector = selector.get("matchLabels", selector)
        if kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            chosen = [pod for pod in pods.values() if selects(selector, pod["metadata"]["labels"])]
            demand(chosen, f"kubernetes: {kind} {name} selects no pod")
            ports = {port["name"] for pod in chosen for port in pod["spec"]["containers"][0]["ports"]}
            for port in spec.get("ports", []) if kind == "Service" else []:
                demand(
                    port["targetPort"] in ports, f"kubernetes: {kind} {name}: no pod has the port {port['targetPort']}"
                )
    conf = (DEPLOY / "valkey.conf").read_text()
    demand(
        named["ConfigMap", "valkey"]["data"]["valkey.conf"] == conf,
        "kubernetes: ConfigMap valkey: not deploy/valkey.conf",
    )
    check_keda(named)


def check_keda(named):
    for (kind, name), o in named.items():
        if kind not in KEDA_FIELDS:
            continue
        where, spec = f"kubernetes: {kind} {name}", o["spec"]
        demand(o["apiVersion"] == "keda.sh/v1alpha1", f"{where}: has apiVersion {o['apiVersion']}")
        if spec.keys() != KEDA_FIELDS[kind]:
            complaints.append(f"{where}: has {sorted(spec)} instead of {sorted(KEDA_FIELDS[kind])}")
            continue
        for secret in spec.get("secretTargetRef", []):
            key_is_there = secret["key"] in SECRETS.get(secret["name"], ())
            demand(key_is_there, f"{where}: README.md does not create the secret {secret['name']} with {secret['key']}")
        if kind != "ScaledObject":
            continue
        target = spec["scaleTargetRef"]["name"]
        demand(("Deployment", target) in named, f"{where}: there is no Deployment {target}")
        demand(1 <= spec["minReplicaCount"] < spec["maxReplicaCount"], f"{where}: scales nothing")
        for trigger in spec["triggers"]:
            demand(trigger.keys() == KEDA_FIELDS["trigger"], f"{where}: a trigger has {trigger.keys()}")
            fields = trigger["metadata"]
            demand(fields.keys() == KEDA_FIELDS[trigger["type"]], f"{where}: a {trigger['type']} has {fields.keys()}")
            demand(
                all(isinstance(field, str) for field in fields.values()), f"{where}: metadata are strings, in quotes"
            )
            authentication = trigger["authenticationRef"]["name"]
            demand(("TriggerAuthentication", authentication) in named, f"{where}: there is no {authentication}")
            service = fields.get("address", "").split(".")[0]
            demand(("Service", service) in named, f"{where}: there is no Service {service}")
            priority = fields["stream"].rpartition(":")[2]
            demand(
                fields["stream"] == f"{builtin_model()}:jobs:{priority}", f"{where}: {fields['stream']} is no stream"
            )
        priorities = {trigger["metadata"]["stream"].rpartition(":")[2] for trigger in spec["triggers"]}
        demand(priorities == {"high", "normal", "low"}, f"{where}: watches only {sorted(priorities)}")


def check_compose(project):
    services = project["services"]
    for name, service in services.items():
        for kind in ("networks", "depends_on"):
            unknown = set(service.get(kind, ())) - (services if kind == "depends_on" else project[kind]).keys()
            demand(not unknown, f"compose.yaml: {name}: {kind}: there is no {unknown}")
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            there = (DEPLOY / source).is_file() if source.startswith(".") else source in project["volumes"]
            demand(there, f"compose.yaml: {name}: there is no {source} to mount")
    wanted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "compose.env.example").read_text(), re.M))
    demand(wanted <= given, f"compose.env.example: does not set {wanted - given}")


def check_grace(services):
    for role in ("web", "worker"):
        longest, grace = drain(services[role]["environment"]), seconds(services[role]["stop_grace_period"])
        demand(grace > longest, f"compose.yaml: {role} stops within {longest} s, but is killed after {grace} s")
        environment = dict(
            line.split("=", 1)
            for line in (DEPLOY / "systemd/ocelli.env.example").read_text().splitlines()
            if line and not line.startswith("#")
        )
        unit = (DEPLOY / f"systemd/ocelli-{role}@.service").read_text()
        longest, grace = drain(environment), seconds(re.search("^TimeoutStopSec=(.*)$", unit, re.M).group(1))
        demand(grace > longest, f"systemd: {role} stops within {longest} s, but is killed after {grace} s")


def check_program():
    known = set(re.findall(r'env = "(OCELLI_\w+)"', CLI))
    for file in filter(Path.is_file, DEPLOY.rglob("*")):
        unknown = set(re.findall(r"\bOCELLI_[A-Z_]+", file.read_text())) - known
        demand(not unknown, f"{file}: no option has {', '.join(sorted(unknown))}")
    for default, file, text in REPEATED:
        demand(re.search(default, CLI), f"cli.rs: no longer says {default}: adapt deploy/{file} and this check")
        demand(text in (DEPLOY / file).read_text(), f"{file}: no longer says {text}")


check_kubernetes(
    [o for file in sorted((DEPLOY / "kubernetes").rglob("*.yaml")) for o in yaml.safe_load_all(file.read_text())]
)
project = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
check_compose(project)
check_grace(project["services"])
check_program()
for complaint in complaints:
    print(complaint, file=sys.stderr)
sys.exit(bool(complaints))
