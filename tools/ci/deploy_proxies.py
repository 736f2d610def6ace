"""Runs the example configurations of nginx and Apache, as they are but for addresses, in front of two stand-ins for web
processes, and checks what they promise: what arrives, what is refused, what is sent again and what is not.

    python tools/ci/deploy_proxies.py    from the repository's root; needs nginx and apache2
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DEPLOY = Path("deploy")
MODULES = "/usr/lib/apache2/modules"
MAX_BODY = 32 * 1024 * 1024
PATIENCE = 20.0


class Web(ThreadingHTTPServer):
    """A stand-in for a web process: returns what arrived, or a fixed answer."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.mode = "answer"
        self.seen = Counter()
        self.connections = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, *_):
        """A proxy may close a connection at any time."""

    def stop(self):
        """Simulates a kill: idle connections end too."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/readyz" and self.server.mode != "unavailable":
            return self.answer(200, {"ready": True})
        return self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen[self.path] += 1
        if self.server.mode == "break":
            self.close_connection = True
            return None
        if self.server.mode == "unavailable":
            return self.answer(503, {"code": "no_worker"}, {"Retry-After": "7"})
        return self.answer(200, {"port": self.server.server_port, "bytes": len(body)})

    def answer(self, status, body, headers=None):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "X-Request-Id": self.headers.get("X-Request-Id", "")}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(text, replacements):
    """Each text must exist, so that a changed configuration is not tested incompletely."""
    for old, new in replacements.items():
        assert old in text, f"{old!r} is not in the configuration any more: adapt {__file__}"
        text = text.replace(old, new)
    return text


def nginx(folder, port, webs):
    """The command that runs nginx with the example configuration on free ports."""
    addresses = {"127.0.0.1:5001": webs[0], "127.0.0.1:5002": webs[1], "listen 80;": f"listen 127.0.0.1:{port};"}
    return nginx_with(folder, replaced((DEPLOY / "nginx/ocelli.conf").read_text(), addresses))


def nginx_with(folder, site):
    (folder / "snippets").mkdir()
    shutil.copy(DEPLOY / "nginx/proxy.conf", folder / "snippets/ocelli-proxy.conf")
    (folder / "ocelli.conf").write_text(site)
    places = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;"
        f"events {{}} http {{ access_log off; {places} include ocelli.conf; }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]


def apache(folder, port, webs):
    """The command that runs Apache with the example configuration on free ports."""
    modules = "mpm_event authz_core proxy proxy_http proxy_balancer proxy_hcheck watchdog lbmethod_bybusyness"
    modules += " slotmem_shm rewrite headers reqtimeout unique_id"
    addresses = {"127.0.0.1:5001": webs[0], "127.0.0.1:5002": webs[1], "*:80": f"127.0.0.1:{port}"}
    built_in = subprocess.run(["apache2", "-l"], capture_output=True, text=True, check=True).stdout
    lines = [
        f"ServerRoot {folder}",
        f"DefaultRuntimeDir {folder}",
        f"PidFile {folder}/pid",
        f"ErrorLog {folder}/log",
        "ServerName localhost",
        f"Listen 127.0.0.1:{port}",
        *(["User www-data", "Group www-data"] if os.getuid() == 0 else []),
        *(f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in modules.split() if f"mod_{m}.c" not in built_in),
        replaced((DEPLOY / "apache/ocelli.conf").read_text(), addresses),
    ]
    (folder / "apache.conf").write_text("\n".join(lines) + "\n")
    return ["apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"]


class Proxied:
    """Two stand-ins behind a proxy. What differs between the proxies is in the classes below."""

    def setUp(self):
        self.webs = [Web(), Web()]
        self.port = free_port()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder.chmod(0o755)
        command = type(self).command(self.folder, self.port, [f"127.0.0.1:{web.server_port}" for web in self.webs])
        self.proxy = subprocess.Popen(command)
        self.addCleanup(self.stop)
        self.eventually(lambda: self.send("GET", "/readyz")[0] == 200)

    def stop(self):
        self.proxy.terminate()
        self.proxy.wait(PATIENCE)
        for web in self.webs:
            with contextlib.suppress(OSError):
                web.stop()

    def send(self, method, path, body=b"", headers=None):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(client):
            client.request(method, path, body=body, headers=headers or {})
            answer = client.getresponse()
            text = answer.read()
            is_json = text.startswith(b"{")
            return answer.status, json.loads(text) if is_json else text, answer.headers

    def predict(self, times=20, path="/predict"):
        return [self.send("POST", path, b"photo")[:2] for _ in range(times)]

    def eventually(self, holds):
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                if holds():
                    return
            log = self.folder / "log"
            runs = self.proxy.poll() is None and time.monotonic() < end
            self.assertTrue(runs, log.read_text() if log.exists() else "it wrote no log")
            time.sleep(0.05)

    def test_a_photo_arrives_whole_and_both_webs_get_some(self):
        answers = [self.send("POST", "/predict", bytes(1_000_000)) for _ in range(20)]
        self.assertEqual({(status, body["bytes"]) for status, body, _ in answers}, {(200, 1_000_000)})
        self.assertEqual({body["port"] for _, body, _ in answers}, {web.server_port for web in self.webs})

    def test_the_request_id_is_the_clients_or_a_new_one(self):
        self.assertEqual(self.send("POST", "/predict", headers={"X-Request-Id": "mine-1"})[2]["X-Request-Id"], "mine-1")
        made = [self.send("POST", "/predict")[2]["X-Request-Id"] for _ in range(2)]
        self.assertTrue(all(made) and made[0] != made[1], made)

    def test_the_largest_body_passes_and_a_larger_one_is_refused_as_ocelli_would(self):
        status, body, _ = self.send("POST", "/predict", bytes(MAX_BODY))
        self.assertEqual((status, body["bytes"]), (200, MAX_BODY))
        status, body, headers = self.send("POST", "/predict", bytes(MAX_BODY + 1))
        self.assertEqual((status, body["code"], headers["Content-Type"]), (413, "too_large", "application/json"))

    def test_a_stopped_web_process_fails_no_request(self):
        self.webs[0].stop()
        self.assertEqual({status for status, _ in self.predict()}, {200})

    def test_without_any_web_the_answer_is_json(self):
        for web in self.webs:
            web.stop()
        for status, body in self.predict(3):
            self.assertEqual((status, body["code"]), (503, "not_ready"))

    def test_metrics_are_not_for_everybody(self):
        self.assertEqual(self.send("GET", "/metrics")[0], 404)

    def test_a_job_is_never_created_twice(self):
        for web in self.webs:
            web.mode = "break"
        self.predict(10, "/v1/jobs")
        self.assertEqual(sum(web.seen["/v1/jobs"] for web in self.webs), 10)


class Nginx(Proxied, unittest.TestCase):
    command = staticmethod(nginx)

    def test_a_photo_is_sent_again_when_its_web_dies(self):
        self.webs[0].mode = "break"
        self.assertEqual({status for status, _ in self.predict()}, {200})
        self.assertGreater(self.webs[0].seen["/predict"], 0)

    def test_a_photo_is_sent_again_when_its_web_is_not_ready(self):
        self.webs[0].mode = "unavailable"
        self.assertEqual({status for status, _ in self.predict()}, {200})

    def test_what_all_webs_say_is_what_the_client_hears(self):
        for web in self.webs:
            web.mode = "unavailable"
        for _ in range(5):
            status, body, headers = self.send("POST", "/predict")
            self.assertEqual((status, body["code"], headers["Retry-After"]), (503, "no_worker", "7"))

    def test_the_configuration_for_compose_is_accepted(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        site = replaced(
            (DEPLOY / "nginx/compose.conf").read_text(), {"listen 8080;": f"listen 127.0.0.1:{free_port()};"}
        )
        checked = subprocess.run([*nginx_with(folder, site), "-t"], capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stderr)


class Apache(Proxied, unittest.TestCase):
    command = staticmethod(apache)

    def test_a_web_that_is_not_ready_gets_no_requests_and_comes_back(self):
        self.webs[0].mode = "unavailable"
        self.eventually(lambda: {status for status, _ in self.predict(10)} == {200})
        self.webs[0].mode = "answer"
        self.eventually(lambda: len({body["port"] for _, body in self.predict(10)}) == 2)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin"
    missing = [name for name in ("nginx", "apache2") if not shutil.which(name)]
    if missing:
        sys.exit(f"deploy_proxies: missing {', '.join(missing)}: run tools/setup.sh deploy-tools")
    unittest.main()
