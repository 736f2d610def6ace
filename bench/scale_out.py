#!/usr/bin/env python3
"""Measures throughput and cost of `ocelli web`, `ocelli worker` and Redis on one machine.

Each round measures `serve` and the three processes in turn, on the same cores and with the same engines, and the result is
the median of the rounds' ratios: the speed of a shared machine varies from minute to minute, and both sides of a ratio
vary with it.
"""

import argparse
import os
import signal
import socket
import statistics
import struct
import tempfile
import time
import urllib.request
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import ROOT, Server, load, machine, ocelli
from redis_server import Redis, redis

# Enough to keep all engines busy, and the same as in `run.py`.
CONNECTIONS = 32
# Maximum share of the machine that other programs may use in a calm round.
CALM = 0.1
# The same for both sides: by default, each would measure its own best size, and they could differ.
BATCH = ["--max-batch", "4"]
# A fake engine takes this long per image but no CPU time, so that workers do not share a bottleneck.
FAKE_ENGINE = ["--engine", "fake", "--fake-image-time", "20ms", "--instances", "1"]
FAKE_CONNECTIONS = 128
BUILT_IN_PAYLOAD = 224 * 224 * 3
SUBMIT = ROOT / "crates" / "ocelli" / "src" / "queue" / "redis" / "lua" / "submit.lua"
WAITING_JOBS = 500
# A header at least as long as those of a web process.
HEADER = bytes(130)
# Common input sizes of models.
SIDES = [32, 64, 96, 128, 160, 192, 224, 240, 256, 260, 288, 299, 300, 320, 380, 384, 448, 456, 480, 512, 528, 560, 600]


@dataclass
class Tier:
    """A web process, its workers and their Redis, with the interface of a server for `measure.load`."""

    web: Server
    workers: list[Server]
    redis: Redis

    @property
    def url(self) -> str:
        return self.web.url

    def shares_s(self) -> dict[str, float]:
        """CPU seconds of each kind of process."""
        workers = sum(worker.cpu_s() for worker in self.workers)
        return {"web": self.web.cpu_s(), "worker": workers, "redis": self.redis.cpu_s()}

    def cpu_s(self) -> float:
        return sum(self.shares_s().values())

    def resident_mb(self) -> float:
        return self.web.resident_mb() + sum(worker.resident_mb() for worker in self.workers)


@contextmanager
def tier(workers: int, worker_options: list, web_options: list = ()):
    """Starts a web process and workers on a separate Redis, and waits until the web process knows all workers."""
    with ExitStack() as stack:
        server = stack.enter_context(redis())
        options = ["--redis", server.url, "--log-level", "error"]
        web = stack.enter_context(ocelli(*options, *web_options, role="web"))
        started = [stack.enter_context(ocelli(*options, *worker_options, role="worker")) for _ in range(workers)]
        wait_for(lambda: metric(web.url, "ocelli_workers") == workers, "the web process to know its workers")
        yield Tier(web, started, server)


def metric(url: str, name: str) -> float:
    lines = urllib.request.urlopen(f"{url}/metrics").read().decode().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def wait_for(condition, what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise SystemExit(f"timed out waiting for {what}")


def same_machine(photos: list, rounds: int, seconds: float) -> list[dict]:
    """Measures `serve` and the three processes in turn, in alternating order. If other programs use the machine, there are
    up to twice as many rounds, until enough are calm."""
    results = []
    with ocelli("--log-level", "error", *BATCH) as serve, tier(1, BATCH) as apart:
        sides = {"serve": serve, "redis": apart}
        while len(results) < rounds or (len(calm(results, "many")) < rounds and len(results) < 2 * rounds):
            row = {}
            for name in sorted(sides, reverse=len(results) % 2 == 0):
                before = apart.shares_s()
                many = load(sides[name], photos, seconds, "-c", str(CONNECTIONS))
                spent = {part: used - before[part] for part, used in apart.shares_s().items()}
                one = load(sides[name], photos[:1], seconds / 2, "-c", "1")
                row[name] = {"many": many, "one": one, "spent": spent}
            results.append(row)
            print_round(len(results), row)
    return results


def calm(rounds: list[dict], load_name: str) -> list[dict]:
    """The rounds in which other programs used little of the machine during this measurement."""
    return [row for row in rounds if max(side[load_name]["others_share"] for side in row.values()) < CALM]


def cpu_ms(report: dict) -> float:
    """CPU milliseconds per image, in all processes of the server."""
    return report["server_cpu_s"] * 1e3 / max(report["ok"], 1)


def print_round(number: int, row: dict) -> None:
    print(f"round {number}:", end="")
    for name, side in row.items():
        many, one = side["many"], side["one"]
        print(
            f"  {name} {many['images_per_s']:.1f} images/s, p50 {many['latency_ms']['p50']:.1f} ms, {many['failed']} failed,"
            f" {many['others_share']:.0%} taken by others; alone p50 {one['latency_ms']['p50']:.2f} ms,"
            f" {one['others_share']:.0%};",
            end="",
        )
    print(flush=True)


def fake_workers(counts: list[int], seconds: float) -> dict[int, float]:
    """Images per second with these numbers of workers, whose engines only wait."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "grey.png"
        photo.write_bytes(grey_png(256))
        for count in counts:
            with tier(count, FAKE_ENGINE) as apart:
                report = load(apart, [photo], seconds, "-c", str(FAKE_CONNECTIONS))
                results[count] = report["images_per_s"]
    return results


def grey_png(side: int) -> bytes:
    """An image that is very fast to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x80" * 3 * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def idle(seconds: float) -> dict[str, float]:
    """Shares of one core that idle processes use."""
    with tier(1, []) as apart:
        time.sleep(2.0)
        began, before = time.perf_counter(), apart.shares_s()
        time.sleep(seconds)
        elapsed = time.perf_counter() - began
        return {part: (used - before[part]) / elapsed for part, used in apart.shares_s().items()}


def waiting_memory(photos: list) -> float:
    """Redis memory of a waiting job of the built-in model, relative to its payload."""
    photo = photos[0].read_bytes()
    with tier(1, [], ["--deadline", "60s"]) as apart:
        worker = apart.workers[0].process
        # The first jobs create the streams and load the scripts.
        load(apart, photos[:1], 0.5, "-c", "1")
        wait_for(lambda: depth(apart.redis) == 0, "the queue to be empty")
        before = apart.redis.used_memory()
        os.kill(worker.pid, signal.SIGSTOP)
        holders = []
        try:
            holders = [send(apart.url, photo) for _ in range(WAITING_JOBS)]
            wait_for(lambda: depth(apart.redis) == WAITING_JOBS, f"{WAITING_JOBS} jobs to wait")
            return (apart.redis.used_memory() - before) / WAITING_JOBS / BUILT_IN_PAYLOAD
        finally:
            for holder in holders:
                holder.close()
            os.kill(worker.pid, signal.SIGCONT)


def depth(server: Redis) -> int:
    return sum(server.command("XLEN", key) for key in server.command("KEYS", "*:jobs:*"))


def send(url: str, photo: bytes) -> socket.socket:
    """Sends a request, which stays in progress while the connection is open."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
    connection.sendall(head.encode() + photo)
    return connection


def payload_memory(payloads: set[int]) -> dict[int, float]:
    """Redis memory of a job of each size, as written by the submit script, relative to its payload."""
    script = SUBMIT.read_bytes()
    keys = ["jobs:high", "jobs:normal", "jobs:low", "bytes"]
    results = {}
    with redis() as server:
        for payload in sorted(payloads):
            server.command("FLUSHALL")
            submission = ["EVAL", script, 4, *keys, 2, 1 << 20, 1 << 40, 60_000, HEADER, bytes(payload)]
            # The first job creates what is created only once.
            server.command(*submission)
            before = server.used_memory()
            jobs = max(8, min(WAITING_JOBS, (16 << 20) // payload))
            for _ in range(jobs):
                server.command(*submission)
            results[payload] = (server.used_memory() - before) / jobs / payload
    return results


def allocator_edges() -> set[int]:
    """Payloads whose jobs are slightly larger than a size class of the allocator, which has four per doubling."""
    sizes = {(1 << power) * quarters // 4 for power in range(12, 20) for quarters in range(4, 8)}
    return {size - len(HEADER) - rest for size in sizes for rest in (0, 40, 80, 120)}


def verdict(label: str, values: list[float], want: str, good: bool | None) -> None:
    rounds = " ".join(f"{value:.3f}" for value in values)
    mark = {True: "ok  ", False: "MISS", None: "    "}[good]
    print(
        f"{mark} {label:<74}{statistics.median(values):>9.3f}  {want:<8} {rounds if len(values) > 1 else ''}".rstrip()
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


def report_same_machine(photos: list, arguments: argparse.Namespace) -> None:
    rounds = same_machine(photos, arguments.rounds, arguments.seconds)
    many, one = (calm(rounds, name) for name in ("many", "one"))
    print(f"calm rounds of {len(rounds)}: {len(many)} under load, {len(one)} alone; if there are none, all count")
    many, one = many or rounds, one or rounds
    costs = [cpu_ms(row["redis"]["many"]) / cpu_ms(row["serve"]["many"]) for row in many]
    verdict("CPU of an image, times that in serve", costs, "<= 1.18", statistics.median(costs) <= 1 / 0.85)
    for part in ("web", "worker", "redis"):
        shares = [row["redis"]["spent"][part] / sum(row["redis"]["spent"].values()) for row in many]
        values = [share * cpu_ms(row["redis"]["many"]) for share, row in zip(shares, many, strict=True)]
        verdict(f"CPU of an image, ms: {part}", values, "shown", None)
    ratios = [row["redis"]["many"]["images_per_s"] / row["serve"]["many"]["images_per_s"] for row in many]
    label = f"throughput through Redis at {CONNECTIONS} connections, of serve"
    verdict(label, ratios, ">= 0.85", statistics.median(ratios) >= 0.85)
    p50s = [[row[name]["one"]["latency_ms"]["p50"] for name in ("serve", "redis")] for row in one]
    added = [apart - serve for serve, apart in p50s]
    verdict("added by Redis at one connection: ms of p50", added, "< 3", statistics.median(added) < 3)


def report_workers(_photos: list, arguments: argparse.Namespace) -> None:
    rounds = [fake_workers([1, 2, 4], arguments.seconds) for _ in range(arguments.rounds)]
    verdict("one worker of 20 ms an image, images/s", [row[1] for row in rounds], "shown", None)
    for count, least in ((2, 1.9), (4, 3.7)):
        ratios = [row[count] / row[1] for row in rounds]
        verdict(f"{count} workers, times one", ratios, f">= {least}", statistics.median(ratios) >= least)


def report_idle(_photos: list, arguments: argparse.Namespace) -> None:
    shares = idle(arguments.idle_seconds)
    together = 100 * (shares["web"] + shares["worker"])
    verdict("idle CPU of web and worker, % of a core", [together], "< 1", together < 1)
    verdict("idle CPU of Redis, % of a core", [100 * shares["redis"]], "shown", None)


def report_memory(photos: list, _arguments: argparse.Namespace) -> None:
    built_in = waiting_memory(photos)
    verdict("Redis memory of a waiting job, times its payload", [built_in], "<= 1.10", built_in <= 1.10)
    pictures = payload_memory({3 * side * side for side in SIDES})
    report_worst(f"{len(SIDES)} sizes of pictures", pictures)
    report_worst("any size from 4 KB to 1 MB", payload_memory(allocator_edges()))


def report_worst(what: str, by_payload: dict[int, float]) -> None:
    payload, worst = max(by_payload.items(), key=lambda item: item[1])
    verdict(f"the same, the worst of {what} ({payload} bytes)", [worst], "<= 1.25", worst <= 1.25)


PARTS = {
    "same-machine": report_same_machine,
    "workers": report_workers,
    "idle": report_idle,
    "memory": report_memory,
}


def main() -> None:
    arguments = parse_arguments()
    photos = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
    with redis() as server:
        print(f"machine: {machine()}, Redis {server.version()}, {len(photos)} photos of {arguments.photos}")
    for part in arguments.parts:
        PARTS[part](photos, arguments)


if __name__ == "__main__":
    main()
