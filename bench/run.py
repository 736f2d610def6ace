#!/usr/bin/env python3
"""Compares Ocelli with its ceiling and a Python server: same machine, same photos, same run.

Each round measures the compared systems in turn, and the result is the median of the rounds' ratios: the speed of a shared
machine varies from minute to minute, and both sides of a ratio vary with it.
"""

import argparse
import re
import socket
import statistics
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from measure import OCELLI, RELEASE, ROOT, baseline, load, machine, ocelli, run_json

PACKAGE_MODEL = ROOT / "models" / "efficientnet-lite0" / "model.onnx"
SHAPES = [(1, 2), (2, 1)]
CONNECTIONS = [1, 8, 32, 128]
COMPARED_AT = 32
# Slow enough for the queue to stay full during a measurement; it runs twice before the server is ready.
SLOW_ENGINE = [
    "--engine",
    "fake",
    "--fake-image-time",
    "8s",
    "--max-batch",
    "1",
    "--deadline",
    "60s",
    "--log-level",
    "error",
]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    return parser.parse_args()


def ceiling(photos: list, seconds: float) -> dict:
    """Runs plain loops of both shapes; the better one is the ceiling."""
    program = RELEASE / "examples" / "ceiling"
    runs = [run_json([program, "--instances", i, "--threads", t, "--seconds", seconds, *photos]) for i, t in SHAPES]
    return {"runs": runs, "best": max(run["images_per_s"] for run in runs)}


def engines(seconds: float) -> list:
    """Compares ONNX Runtime in Rust and in Python with the same model, threads and instances."""
    python = [ROOT / ".venv-bench/bin/python", ROOT / "bench/baselines/ort_only.py", "--model", PACKAGE_MODEL]
    rust = [RELEASE / "examples" / "engine_bench", "--model", PACKAGE_MODEL, "--json"]
    rows = []
    for instances, threads in SHAPES:
        options = ["--instances", instances, "--threads", threads, "--batch", 1, "--seconds", seconds]
        rows.append(
            {
                "shape": f"{instances} x {threads}",
                "rust": run_json([*rust, *options])["images_per_second"],
                "python": run_json([*python, *options])["images_per_s"],
            }
        )
    return rows


KINDS = {
    "ocelli": lambda: ocelli("--log-level", "warn"),
    "python-float32": baseline,
    "python-latency": lambda: baseline("--pool", "1", "--threads", "2"),
    "python-int8": lambda: baseline("--int8"),
}


def servers(running: dict, photos: list, seconds: float) -> dict:
    """Measures each server at each number of connections, with the ceiling right before and after the compared one."""
    results = {name: {} for name in running}
    ceilings = []
    for connections in CONNECTIONS:
        for name, server in running.items():
            if name == "python-latency" and connections > 1:
                continue
            compared = name == "ocelli" and connections == COMPARED_AT
            if compared:
                ceilings.append(ceiling(photos, seconds))
            results[name][connections] = load(server, photos, seconds, "-c", str(connections))
            if compared:
                ceilings.append(ceiling(photos, seconds))
    best = statistics.mean(each["best"] for each in ceilings)
    return {"servers": results, "ceiling": {"runs": ceilings[0]["runs"], "best": best}}


def lone_request(server, photos: list, seconds: float) -> float:
    """Milliseconds of a request on one connection beyond decoding and inference. Uses medians over one photo, so that neither
    stalls nor differences between photos matter."""
    photo = next(path for folder in photos for path in sorted(folder.iterdir()) if path.is_file())
    report = load(server, [photo], seconds, "-c", "1")
    phases = {row["name"]: row["p50_ms"] for row in report["server_timing"]}
    return report["latency_ms"]["p50"] - phases["decode"] - phases["infer"]


def starts(times: int) -> list:
    """Seconds until ready, and megabytes when idle."""
    results = []
    for _ in range(times):
        with ocelli("--log-level", "warn") as server:
            results.append((server.start_to_ready_s, server.resident_mb()))
    return results


def refusals(photos: list, seconds: float) -> dict:
    """Microseconds of CPU time for a request that a full queue refuses: with a body of a kilobyte, to measure only the
    refusal, and with photos, whose bytes are read and dropped to keep the connection alive."""
    with ocelli(*SLOW_ENGINE, "--queue-jobs", "1") as server, tempfile.TemporaryDirectory() as folder:
        # The content is never read.
        small = Path(folder) / "small.jpg"
        small.write_bytes(bytes(1024))
        holder = hold(server.url, photos)
        try:
            wait_for_admitted(server.url, 1)
            return {
                "small": refusal_us(load(server, [small], seconds, "-c", "8")),
                "photo": refusal_us(load(server, photos, seconds, "-c", "8")),
            }
        finally:
            holder.close()


def refusal_us(report: dict) -> float:
    refused = sum(row["count"] for row in report["failures"] if row.get("code") == "queue_full")
    if refused < report["requests"]:
        raise SystemExit(f"only {refused} of {report['requests']} requests were refused: {report['failures']}")
    return report["server_cpu_s"] * 1e6 / refused


def hold(url: str, photos: list) -> socket.socket:
    """Sends a photo without reading the answer, so that it occupies the only slot."""
    host, port = re.match(r"http://([^:/]+):(\d+)", url).groups()
    photo = next(path for folder in photos for path in sorted(folder.iterdir()) if path.is_file()).read_bytes()
    connection = socket.create_connection((host, int(port)))
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
    connection.sendall(head.encode() + photo)
    return connection


def waiting(photos: list) -> dict:
    """Memory of a thousand queued photos."""
    with ocelli(*SLOW_ENGINE) as server:
        idle = server.resident_mb()
        holders = [hold(server.url, photos) for _ in range(1000)]
        try:
            admitted = wait_for_admitted(server.url, len(holders))
            loaded = server.resident_mb()
        finally:
            for holder in holders:
                holder.close()
    return {"photos": admitted, "kb_each": (loaded - idle) * 1000 / admitted}


def wait_for_admitted(url: str, wanted: int) -> int:
    for _ in range(200):
        text = urllib.request.urlopen(f"{url}/metrics").read().decode()
        admitted = int(re.search(r"^ocelli_admitted_images (\d+)", text, re.M)[1])
        if admitted >= wanted:
            time.sleep(1.0)
            return admitted
        time.sleep(0.05)
    raise SystemExit(f"only {admitted} of {wanted} photos were admitted")


def median(values) -> float:
    return statistics.median(list(values))


def print_servers(rounds: list) -> None:
    print(
        f"{'server':<16}{'conns':>6}{'images/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms/img':>12}{'MB':>7}{'failed':>8}{'load gen':>10}"
    )
    for name in rounds[0]["servers"]:
        for connections in rounds[0]["servers"][name]:
            runs = [round_["servers"][name][connections] for round_ in rounds]
            row = [
                median(run["images_per_s"] for run in runs),
                median(run["latency_ms"]["p50"] for run in runs),
                median(run["latency_ms"]["p99"] for run in runs),
                median(run["server_cpu_s"] * 1e3 / max(run["ok"], 1) for run in runs),
                median(run["server_resident_mb"] for run in runs),
            ]
            failed = sum(run["failed"] for run in runs)
            share = median(run["generator"]["share_of_machine"] for run in runs)
            print(
                f"{name:<16}{connections:>6}{row[0]:>10.1f}{row[1]:>9.2f}{row[2]:>9.2f}{row[3]:>12.2f}{row[4]:>7.0f}"
                f"{failed:>8}{share:>9.1%}"
            )


def verdict(label: str, values: list, want: str, good: bool) -> None:
    spread = " ".join(f"{value:.2f}" for value in values)
    print(f"{'ok  ' if good else 'MISS'} {label}: {median(values):.2f} (rounds: {spread}; wanted {want})")


def print_verdicts(rounds: list, started: list, refusal: dict, memory: dict) -> None:
    at = COMPARED_AT
    speed = lambda round_, name, connections: round_["servers"][name][connections]["images_per_s"]  # noqa: E731
    rows = [
        ("decoding, times the bare loop", [r["decode"]["ratio"] for r in rounds], "<= 1.15", lambda v: v <= 1.15),
        (
            "engine, of Python's onnxruntime",
            [min(row["rust"] / row["python"] for row in r["engines"]) for r in rounds],
            ">= 0.95",
            lambda v: v >= 0.95,
        ),
        (
            f"throughput at {at} connections, of the ceiling",
            [speed(r, "ocelli", at) / r["ceiling"]["best"] for r in rounds],
            ">= 0.90",
            lambda v: v >= 0.9,
        ),
        (
            f"throughput at {at}, times Python float32",
            [speed(r, "ocelli", at) / speed(r, "python-float32", at) for r in rounds],
            ">= 2.2",
            lambda v: v >= 2.2,
        ),
        (
            f"throughput at {at}, times Python int8",
            [speed(r, "ocelli", at) / speed(r, "python-int8", at) for r in rounds],
            "shown",
            lambda _: True,
        ),
        (
            "one connection: p50, of Python float32",
            [p50(r, "ocelli") / p50(r, "python-float32") for r in rounds],
            "< 0.5",
            lambda v: v < 0.5,
        ),
        (
            "one connection: p50, of Python float32 with all cores on one photo",
            [p50(r, "ocelli") / p50(r, "python-latency") for r in rounds],
            "shown",
            lambda _: True,
        ),
        (
            "one connection: ms above decode + inference",
            [r["overhead_ms"] for r in rounds],
            "<= 0.5",
            lambda v: v <= 0.5,
        ),
        ("start to ready, s", [start for start, _ in started], "< 1", lambda v: v < 1),
        ("idle memory, MB", [idle for _, idle in started], "< 200", lambda v: v < 200),
        ("memory of a waiting photo, KB", [memory["kb_each"]], "<= 200", lambda v: v <= 200),
        ("CPU of a refusal, us", [refusal["small"]], "< 50", lambda v: v < 50),
        ("CPU of a refusal, reading and dropping a photo included, us", [refusal["photo"]], "shown", lambda _: True),
    ]
    for label, values, want, good in rows:
        verdict(label, values, want, good(median(values)))


def p50(round_: dict, name: str) -> float:
    return round_["servers"][name][1]["latency_ms"]["p50"]


def main() -> None:
    arguments = parse_arguments()
    photos, seconds = arguments.photos, arguments.seconds
    print(f"machine: {machine()}\nbinary: {OCELLI.stat().st_size / 1e6:.0f} MB, photos: {' '.join(map(str, photos))}")
    rounds = []
    with ExitStack() as stack:
        running = {name: stack.enter_context(start()) for name, start in KINDS.items()}
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds} ...", flush=True)
            rounds.append(
                {
                    "decode": run_json([RELEASE / "examples" / "decode_bench", photos[0], "--rounds", 2, "--json"]),
                    "engines": engines(seconds),
                    "overhead_ms": lone_request(running["ocelli"], photos, seconds),
                    **servers(running, photos, seconds),
                }
            )
        baselines = {
            name: (server.start_to_ready_s, server.resident_mb())
            for name, server in running.items()
            if name != "ocelli"
        }
    started = starts(arguments.rounds)
    refusal, memory = refusals(photos, seconds), waiting(photos)
    print()
    for shape in range(len(SHAPES)):
        runs = [round_["ceiling"]["runs"][shape] for round_ in rounds]
        instances, threads = SHAPES[shape]
        print(
            f"plain loop, {instances} x {threads} threads: {median(run['images_per_s'] for run in runs):.1f} images/s"
            f" (decode {median(run['decode_ms'] for run in runs):.2f} ms, infer {median(run['infer_ms'] for run in runs):.2f} ms)"
        )
    print(f"ceiling: {median(round_['ceiling']['best'] for round_ in rounds):.1f} images/s\n")
    print_servers(rounds)
    print()
    for name, (start_s, resident_mb) in baselines.items():
        print(f"{name}: starts in {start_s:.2f} s, {resident_mb:.0f} MB after the run")
    print_verdicts(rounds, started, refusal, memory)


if __name__ == "__main__":
    main()
