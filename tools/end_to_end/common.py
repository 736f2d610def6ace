"""Shared by the tests of real conversions: runs the converter and serves its packages."""

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OCELLI = Path(os.environ.get("OCELLI", ROOT / "target" / "release" / "ocelli")).resolve()
LIMIT_S = 600
# The server is local: proxies from the environment must not be used.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Conversions(unittest.TestCase):
    """Models of the library `LIBRARY` with their outputs, created once by `make_LIBRARY.py` in its environment."""

    LIBRARY = ""

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="to_onnx-test-")
        cls.addClassCleanup(holder.cleanup)
        cls.folder = Path(holder.name)
        python = ROOT / f".venv-convert-{cls.LIBRARY}" / "bin" / "python"
        script = Path(__file__).with_name(f"make_{cls.LIBRARY}.py")
        subprocess.run([python, script, cls.folder], check=True, timeout=LIMIT_S, stderr=subprocess.DEVNULL)
        cls.expected = json.loads((cls.folder / "expected.json").read_text())
        cls.photos = cls.folder / "photos"

    def convert(self, *arguments: str, status: int = 0, photos: bool = True) -> str:
        """Runs the command in the folder of the models; returns its output."""
        command = [sys.executable, ROOT / "tools" / "to_onnx.py", *arguments]
        if photos:
            command += ["--photos", self.photos]
        environment = os.environ | {"OCELLI": str(OCELLI), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout + done.stderr

    def manifest(self, out: str) -> dict:
        return tomllib.loads((self.folder / out / "model.toml").read_text())

    def assert_served(self, out: str, expected: str):
        """Checks the server's result for the first photo against the library's `expected` probabilities, by label."""
        wanted = self.expected[expected]
        with self.serve(self.folder / out) as url:
            body = (self.photos / "drawn-0.png").read_bytes()
            request = urllib.request.Request(f"{url}/predict?top_k=3", data=body, headers={"Content-Type": "image/png"})
            with OPENER.open(request, timeout=60) as response:
                answer = json.load(response)
        best = sorted(wanted, key=wanted.get, reverse=True)[:3]
        self.assertEqual([item["label"] for item in answer["predictions"]], best)
        for item in answer["predictions"]:
            self.assertAlmostEqual(item["probability"], wanted[item["label"]], delta=0.01 * wanted[item["label"]])

    @contextmanager
    def serve(self, package: Path):
        """Starts a server of `package`; returns its address."""
        log = self.folder / "server.log"
        with log.open("w") as file:
            command = [OCELLI, "serve", "--model", package, "--listen", "127.0.0.1:0"]
            server = subprocess.Popen(command, stderr=file)
            try:
                yield self.wait_until_ready(server, log)
            finally:
                server.terminate()
                server.wait(timeout=60)

    def wait_until_ready(self, server: subprocess.Popen, log: Path) -> str:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            text = log.read_text()
            if " ready;" in text:
                return "http://" + text.split("listening on http://", 1)[1].split()[0].strip(";,")
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{log.read_text()}")
