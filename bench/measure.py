"""Starts servers, puts load on them and reads their costs, for the other scripts. Prints nothing."""

import json
import os
import platform
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
OCELLI = Path(os.environ.get("OCELLI", RELEASE / "ocelli"))
START_LIMIT_S = 60
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen
    url: str
    start_to_ready_s: float

    def cpu_s(self) -> float:
        """CPU seconds of all threads since the process started."""
        return processor_s(self.process)

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1000


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    cores = cpuinfo.count("processor\t")
    return f"{model[1] if model else platform.processor()}, {cores} cores, Linux {platform.release()}"


def processor_s(process: subprocess.Popen) -> float:
    """CPU seconds of all threads since the process started."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def machine_s() -> tuple[float, float]:
    """Busy seconds of the machine's cores, including the host's other guests, and their total seconds."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy / TICKS_PER_S, (busy + idle + iowait) / TICKS_PER_S


def run_json(command: list) -> dict:
    """The last line of JSON that a tool prints."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode != 0 or not result.stdout.strip():
        raise SystemExit(f"{command[0]} failed with {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def ocelli(*options: str, role: str = "serve"):
    """Starts a role of `ocelli` and waits until it is ready."""
    port = free_port()
    return served([OCELLI, role, "--listen", f"127.0.0.1:{port}", *options], port, "/readyz")


def baseline(*options: str):
    """Starts the Python server and waits until it answers."""
    script = ROOT / "bench" / "baselines" / "fastapi_onnxruntime.py"
    port = free_port()
    return served([ROOT / ".venv-bench/bin/python", script, "--port", str(port), *options], port, "/openapi.json")


@contextmanager
def served(command: list, port: int, ready: str):
    """Runs a server for the duration of the context."""
    with tempfile.NamedTemporaryFile("r") as log, Path(log.name).open("w") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output)
        url = f"http://127.0.0.1:{port}"
        try:
            while not answers(f"{url}{ready}"):
                if process.poll() is not None or time.perf_counter() - began > START_LIMIT_S:
                    raise SystemExit(f"{command[0]} did not start:\n{log.read()}")
                time.sleep(0.005)
            yield Server(process, url, time.perf_counter() - began)
        finally:
            stop(process)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def load(server: Server, photos: list, seconds: float, *options: str) -> dict:
    """The report of `ocelli bench`, with the CPU time of the server meanwhile."""
    bench = [OCELLI, "bench", server.url, "--json", *options, "--photos", *photos]
    # A separate run warms up the server, so that CPU time and images cover the same period.
    subprocess.run([str(part) for part in [*bench, "-d", "0.5s", "--warmup", "0s"]], capture_output=True, check=False)
    command = [*bench, "-d", f"{seconds}s", "--warmup", "0s"]
    before, machine_before = server.cpu_s(), machine_s()
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    busy, elapsed = (after - start for start, after in zip(machine_before, machine_s(), strict=True))
    if not result.stdout.strip():
        raise SystemExit(f"ocelli bench failed:\n{result.stderr}")
    report = json.loads(result.stdout)
    report["server_cpu_s"] = server.cpu_s() - before
    report["server_resident_mb"] = server.resident_mb()
    report["others_share"] = max(busy - report["server_cpu_s"] - report["generator"]["cpu_s"], 0) / elapsed
    return report
