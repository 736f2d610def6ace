"""Starting servers, loading them and reading what they cost. Used by the programs of this folder; prints nothing."""

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
        """Seconds of processor time, of all its threads, since it started."""
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
    """Seconds of processor time, of all its threads, since it started."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def machine_s() -> tuple[float, float]:
    """Seconds that the machine's cores were busy, for the host's other guests too, and that they had in all."""
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
    """A role of `ocelli`, until it is ready."""
    port = free_port()
    return served([OCELLI, role, "--listen", f"127.0.0.1:{port}", *options], port, "/readyz")


def baseline(*options: str):
    """The Python server, until it answers."""
    script = ROOT / "bench" / "baselines" / "fastapi_onnxruntime.py"
    port = free_port()
    return served([ROOT / ".venv-bench/bin/python", script, "--port", str(port), *options], port, "/openapi.json")


@contextmanager
def served(command: list, port: int, ready: str):
    """A server, from its start to its end."""
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
    """The report of `ocelli bench`, with what the server spent meanwhile."""
    bench = [OCELLI, "bench", server.url, "--json", *options, "--photos", *photos]
    # Warmed up by a run of its own, so that processor time and images are counted over the same time.
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
