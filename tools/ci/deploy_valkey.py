"""Starts Valkey by the very commands of compose.yaml and of kubernetes/valkey.yaml, with deploy/valkey.conf, and checks
that it wants the password and never evicts.

    python tools/ci/deploy_valkey.py    from the repository's root; needs what tools/test-servers.sh fetches
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import yaml

SERVERS = Path("target/test-servers").resolve()
CONF = Path("deploy/valkey.conf").resolve()
PATIENCE = 20.0


class Valkey(unittest.TestCase):
    def test_as_compose_starts_it(self):
        service = yaml.safe_load(Path("deploy/compose.yaml").read_text())["services"]["valkey"]
        # Compose turns $$ into $.
        self.started([word.replace("$$", "$") for word in service["command"]], "/etc/valkey.conf")

    def test_as_kubernetes_starts_it(self):
        documents = yaml.safe_load_all(Path("deploy/kubernetes/valkey.yaml").read_text())
        [pod] = [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "StatefulSet"]
        self.started(pod["containers"][0]["command"], "/etc/valkey/valkey.conf")

    def started(self, command, conf):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.assertIn(f"{conf} - ", command[-1])
        # No TCP port, to avoid conflicts on this machine.
        here = f"{CONF} --port 0 --unixsocket {folder}/socket - "
        environment = {"PATH": f"{SERVERS}:{os.environ['PATH']}", "VALKEY_PASSWORD": "secret"}
        with (folder / "log").open("w") as log:
            command = [*command[:-1], command[-1].replace(f"{conf} - ", here)]
            server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        self.addCleanup(server.wait, PATIENCE)
        self.addCleanup(server.terminate)

        end = time.monotonic() + PATIENCE
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(PATIENCE)
            while client.connect_ex(str(folder / "socket")) != 0:
                runs = server.poll() is None and time.monotonic() < end
                self.assertTrue(runs, (folder / "log").read_text())
                time.sleep(0.02)
            client.sendall(b"PING\r\nAUTH secret\r\nCONFIG GET maxmemory-policy\r\nCONFIG GET appendonly\r\nQUIT\r\n")
            answers = b"".join(iter(lambda: client.recv(4096), b"")).decode().split("\r\n")
        self.assertTrue(answers[0].startswith("-NOAUTH"), answers)
        self.assertEqual(answers[1], "+OK")
        self.assertIn("noeviction", answers)
        self.assertIn("yes", answers)


if __name__ == "__main__":
    unittest.main()
