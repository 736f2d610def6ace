"""The check of what deployments may do fails where a protection is missing."""

import copy
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "ci"))

from deploy_hardening import UNIT_LINES, dockerfile, pod, service, unit

DEPLOY = Path(__file__).parents[1] / "deploy"
POD = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "ocelli",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}
SERVICE = {
    "user": "65532:65532",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}


def without_each(tree: dict):
    """The tree without each of its keys in turn, on every level."""
    for key, value in tree.items():
        less = copy.deepcopy(tree)
        del less[key]
        yield key, less
        inner = value if isinstance(value, dict) else {}
        for path, changed in without_each(inner):
            yield f"{key}.{path}", {**copy.deepcopy(tree), key: changed}


class DeployHardeningTest(unittest.TestCase):
    def test_each_line_of_a_unit_is_missed(self) -> None:
        for path in (DEPLOY / "systemd").glob("*.service"):
            text = path.read_text()
            self.assertEqual(list(unit(text)), [])
            for line in UNIT_LINES:
                lines = [other for other in text.splitlines() if other != line]
                self.assertEqual(list(unit("\n".join(lines))), [f"lacks {line}"])
        self.assertEqual(list(unit(f"{text}\nNoNewPrivileges=no\n")), ["has NoNewPrivileges=no"])

    def test_each_setting_of_a_pod_is_missed(self) -> None:
        self.assertEqual(list(pod(POD)), [])
        for path, less in without_each(POD):
            if path != "containers":
                self.assertTrue(list(pod(less)), path)
        for path, less in without_each(POD["containers"][0]):
            if path != "name":
                self.assertTrue(list(pod({**POD, "containers": [less]})), path)
        self.assertEqual(list(pod({**POD, "hostNetwork": True})), ["has hostNetwork"])
        # A key without a value.
        self.assertEqual(len(list(pod({**POD, "securityContext": None}))), 2)
        weaker = copy.deepcopy(POD)
        weaker["containers"][0]["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
        self.assertEqual(len(list(pod(weaker))), 1)

    def test_each_setting_of_a_service_is_missed(self) -> None:
        self.assertEqual(list(service("web", SERVICE)), [])
        for path, less in without_each(SERVICE):
            self.assertEqual(len(list(service("web", less))), 1, path)
        for more in (
            {"security_opt": ["no-new-privileges:true", "seccomp:unconfined"]},
            {"privileged": True},
            {"cap_add": ["NET_ADMIN"]},
            {"user": "root"},
        ):
            self.assertEqual(len(list(service("web", SERVICE | more))), 1, more)
        self.assertEqual(list(service("proxy", SERVICE | {"cap_add": ["SETUID"]})), [])

    def test_an_image_that_ends_as_root_is_found(self) -> None:
        text = (DEPLOY / "Dockerfile").read_text()
        self.assertEqual(list(dockerfile(text)), [])
        for user in ("", "USER root\n", "USER 0:0\n"):
            self.assertEqual(len(list(dockerfile(text.replace("USER 65532:65532\n", user)))), 1, user)


if __name__ == "__main__":
    unittest.main()
