#!/usr/bin/env python3
"""Mixed traffic for minutes or hours: good photos, jobs, garbage and clients that leave, while models are reloaded and workers killed.

One `ocelli serve`, and two web processes with two workers over a Redis, all with a fake engine. Exits 1 where something
that was accepted is lost or wrong, where garbage is not refused, or where memory grows.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from http_load import FORM, Answer, Client, form, get, grey, leaving_client, malformed, percentile, post
from measure import OCELLI, ROOT, Server, free_port, machine, ocelli, stop
from redis_server import redis
from scale_out import metric, wait_for

MODEL = "efficientnet-lite0"
FAKE = ["--engine", "fake", "--fake-image-time", "5ms", "--instances", "1", "--log-level", "error"]
# Results are kept for a short time, so that those that are kept are as many at half time as at the end.
JOBS = ["--job-ttl", "10s"]
DEADLINE_S = 20
# Clients of each kind at each address, and how long each waits before its next request.
GOOD_CLIENTS, GOOD_PAUSE_S = 4, 0.05
JOB_CLIENTS, JOB_PAUSE_S, JOB_IMAGES = 1, 0.5, 8
GARBAGE_PAUSE_S, LEAVING_PAUSE_S = 0.02, 0.05
# Between two reloads or kills.
EVENT_S = 5
# A growth of memory counts when it is more than both over the second half of the run.
GROWTH_SHARE, GROWTH_MB = 0.05, 4
GREYS = [grey(level) for level in range(1, 61)]


@dataclass
class Account:
    """What was sent, and what became of it, by kind of traffic."""

    counts: dict[str, Counter] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)

    def note(self, kind: str, outcome: str) -> None:
        self.counts.setdefault(kind, Counter())[outcome] += 1

    def lose(self, kind: str, what: str) -> None:
        self.note(kind, "lost")
        if len(self.lost) < 20:
            self.lost.append(f"{kind}: {what}")


@dataclass
class Soak:
    """Everything that runs."""

    urls: list[str]
    until: float
    labels: list[str]
    account: Account = field(default_factory=Account)
    numbers: random.Random = field(default_factory=lambda: random.Random(1))

    def goes_on(self) -> bool:
        return time.perf_counter() < self.until

    async def good(self, url: str, number: int) -> None:
        client = Client(url, DEADLINE_S)
        while self.goes_on():
            number = (number + 1) % len(GREYS)
            answer = await client.ask(post("/predict", form(GREYS[number]), X_Timeout_Ms=DEADLINE_S * 1000))
            if answer.is_good and best(answer) == self.labels[number]:
                self.account.note("photos", "right")
                self.account.took_s.append(answer.took_s)
            else:
                self.account.lose(
                    "photos", f"{answer.status} {answer.code} {answer.body[:200]!r} after {answer.took_s:.1f} s"
                )
            await asyncio.sleep(GOOD_PAUSE_S)
        client.close()

    async def jobs(self, url: str) -> None:
        client = Client(url, DEADLINE_S)
        while self.goes_on():
            chosen = [self.numbers.randrange(len(GREYS)) for _ in range(JOB_IMAGES)]
            body = form(*(GREYS[number] for number in chosen))
            headers = {"X_Priority": "low", "X_Timeout_Ms": 3 * DEADLINE_S * 1000}
            accepted = await client.ask(post("/v1/jobs", body, FORM, **headers))
            if accepted.status == 202:
                await self.job_ends(client, json.loads(accepted.body)["id"], chosen)
            else:
                self.account.lose("jobs", f"{accepted.status} {accepted.code}")
            await asyncio.sleep(JOB_PAUSE_S)
        client.close()

    async def job_ends(self, client: Client, job: str, chosen: list[int]) -> None:
        job_deadline = time.perf_counter() + 3 * DEADLINE_S + 5
        while time.perf_counter() < job_deadline:
            answer = await client.ask(get(f"/v1/jobs/{job}"))
            state = json.loads(answer.body) if answer.is_good else {}
            if state.get("state") in ("done", "failed"):
                labels = [(result.get("predictions") or [{}])[0].get("label") for result in state["results"]]
                if labels == [self.labels[number] for number in chosen]:
                    self.account.note("jobs", "right")
                else:
                    self.account.lose("jobs", f"{answer.body[:300]!r}")
                return
            await asyncio.sleep(0.2)
        self.account.lose("jobs", f"{job} did not end")

    async def garbage(self, url: str) -> None:
        client = Client(url, DEADLINE_S)
        while self.goes_on():
            answer = await client.ask(malformed(self.numbers))
            # A job is accepted before its images are decoded.
            if 400 <= answer.status < 500 or answer.status == 202:
                self.account.note("garbage", "refused")
            else:
                self.account.lose("garbage", f"{answer.status} {answer.code} {answer.body[:200]!r}")
            await asyncio.sleep(GARBAGE_PAUSE_S)
        client.close()

    async def leaving(self, url: str) -> None:
        while self.goes_on():
            await leaving_client(url, post("/predict", form(self.numbers.choice(GREYS))), self.numbers)
            self.account.note("leaving", "left")
            await asyncio.sleep(LEAVING_PAUSE_S)

    async def traffic(self) -> None:
        await asyncio.gather(
            *(self.good(url, 10 * number) for url in self.urls for number in range(GOOD_CLIENTS)),
            *(self.jobs(url) for url in self.urls for _ in range(JOB_CLIENTS)),
            *(self.garbage(url) for url in self.urls),
            *(self.leaving(url) for url in self.urls),
        )


def best(answer: Answer) -> str | None:
    return json.loads(answer.body)["predictions"][0]["label"]


class Workers:
    """Two workers, of which one is killed now and then."""

    def __init__(self, options: list[str]):
        self.options = options
        self.processes: list[Server] = [self.start() for _ in range(2)]
        self.unwell: list[str] = []

    def start(self) -> Server:
        port = free_port()
        command = [OCELLI, "worker", "--listen", f"127.0.0.1:{port}", *self.options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        return Server(process, f"http://127.0.0.1:{port}", 0)

    def kill(self, index: int) -> None:
        self.processes[index].process.kill()
        self.processes[index].process.wait()
        self.processes[index] = self.start()

    def reload(self) -> None:
        for worker in self.processes:
            worker.process.send_signal(signal.SIGHUP)

    def look(self) -> None:
        for worker in self.processes:
            if worker.process.poll() is not None:
                self.unwell.append(f"a worker ended with {worker.process.returncode}")

    def close(self) -> None:
        for worker in self.processes:
            stop(worker.process)


def change(package: Path, version: int) -> None:
    """The same package with other bytes, so that it is loaded anew."""
    manifest = package / "model.toml"
    text = re.sub(r"\n# change \d+\n", "", manifest.read_text())
    staged = package / "model.toml.new"
    staged.write_text(f"{text}\n# change {version}\n")
    staged.rename(manifest)


async def events(soak: Soak, serve: Server, workers: Workers, package: Path) -> Counter:
    """A kill of each worker, then a reload of every process, again and again. One after the other: a worker that starts
    while others load another package waits for them."""
    done = Counter()
    while soak.goes_on():
        for event in ("kill", "kill", "reload"):
            await asyncio.sleep(min(EVENT_S, max(soak.until - time.perf_counter(), 0)))
            if not soak.goes_on():
                return done
            workers.look()
            if event == "kill":
                workers.kill(done["kill"] % 2)
            else:
                change(package, done["reload"])
                serve.process.send_signal(signal.SIGHUP)
                workers.reload()
            done[event] += 1
    return done


async def memory(soak: Soak, servers: dict[str, Server]) -> dict[str, list[tuple[float, float]]]:
    """Megabytes that each process holds, by the second."""
    seen = {name: [] for name in servers}
    began = time.perf_counter()
    while soak.goes_on():
        for name, server in servers.items():
            seen[name].append((time.perf_counter() - began, server.resident_mb()))
        await asyncio.sleep(1)
    return seen


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line that fits best, per second."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def growth(points: list[tuple[float, float]]) -> tuple[float, float, bool]:
    """Megabytes an hour and megabytes over the second half, and whether that is more than noise."""
    half = points[len(points) // 2 :]
    per_s = slope(half)
    grown = per_s * (half[-1][0] - half[0][0])
    return per_s * 3600, grown, grown > max(GROWTH_MB, GROWTH_SHARE * half[0][1])


def report(account: Account, done: Counter, seen: dict, left: dict[str, float], workers: Workers) -> bool:
    """Prints what was seen; whether all is well."""
    print("| traffic | sent | outcome |\n| --- | --- | --- |")
    for kind, counts in account.counts.items():
        outcome = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"| {kind} | {counts.total()} | {outcome} |")
    print(f"\n{done['kill']} kills of a worker, {done['reload']} reloads of the model in all processes")
    print(
        f"photos: p50 {percentile(account.took_s, 0.5) * 1e3:.0f} ms, p99 {percentile(account.took_s, 0.99) * 1e3:.0f} ms\n"
    )
    print("| process | memory at half time | at the end | slope | |\n| --- | --- | --- | --- | --- |")
    well = not account.lost
    for name, points in seen.items():
        per_h, grown, grows = growth(points)
        half = points[len(points) // 2][1]
        verdict = f"GROWS by {grown:.1f} MB" if grows else "flat"
        print(f"| {name} | {half:.1f} MB | {points[-1][1]:.1f} MB | {per_h:+.1f} MB/h | {verdict} |")
        well &= not grows
    for name, count in left.items():
        if count:
            print(f"LEFT: {name}: {count:.0f}")
            well = False
    for text in [*account.lost, *workers.unwell]:
        print(f"LOST: {text}")
    return well and not workers.unwell


async def settle(urls: list[str]) -> dict[str, float]:
    """What is still admitted when nobody asks any more."""
    left = {}
    for _ in range(100):
        left = {url: metric(url, "ocelli_admitted_images") for url in urls}
        if not any(left.values()):
            break
        await asyncio.sleep(0.2)
    return left


async def run(seconds: float) -> bool:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        package = folder / MODEL
        shutil.copytree(ROOT / "models" / MODEL, package)
        store = stack.enter_context(redis())
        models = ["--model-dir", str(folder)]
        serve = stack.enter_context(ocelli(*FAKE, *models, *JOBS))
        workers = Workers([*FAKE, *models, "--redis", store.url])
        stack.callback(workers.close)
        webs = [
            stack.enter_context(ocelli("--redis", store.url, *JOBS, "--log-level", "error", role="web"))
            for _ in range(2)
        ]
        for web in webs:
            wait_for(lambda web=web: metric(web.url, "ocelli_workers") == 2, "the web process to know its workers")
        client = Client(serve.url, DEADLINE_S)
        labels = [best(await client.ask(post("/predict", form(photo)))) for photo in GREYS]
        client.close()
        servers = {"serve": serve, "web 1": webs[0], "web 2": webs[1]}
        urls = [server.url for server in servers.values()]
        soak = Soak(urls, time.perf_counter() + seconds, labels)
        _, done, seen = await asyncio.gather(
            soak.traffic(), events(soak, serve, workers, package), memory(soak, servers)
        )
        return report(soak.account, done, seen, await settle(urls), workers)


def duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: write 300s, 5m or 1h")
    return float(match[1]) * {"h": 3600, "m": 60}.get(match[2], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=duration, default=300, help="how long to go on [default: 5m]")
    options = parser.parse_args()
    print(f"{machine()}; {options.time:.0f} s\n", flush=True)
    well = asyncio.run(run(options.time))
    print("\nnothing lost, memory flat" if well else "\nFAILED")
    sys.exit(not well)


if __name__ == "__main__":
    main()
