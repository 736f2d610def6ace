#!/usr/bin/env python3
"""How Ocelli holds its goodput when more is asked than it can compute, beside the goal of each figure. Exits 1 where a goal is missed.

The engine is a fake that takes 20 ms an image and no processor time, so that what is measured is the server's choice of
what to compute. Requests come in an open loop: they do not wait for one another, as the clients of the world do not.
"""

import argparse
import asyncio
import json
import math
import random
import shutil
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import http_load
from http_load import Client, Load, closed_loop, form, grey, open_loop, percentile, post
from measure import ROOT, Server, baseline, machine, ocelli
from redis_server import redis
from scale_out import metric, wait_for

DEADLINE_MS = 500
IMAGE_S = 0.02
FAKE = ["--engine", "fake", "--fake-image-time", "20ms", "--instances", "1", "--log-level", "error"]
# Goodput as a part of capacity, by the load as a multiple of it.
GOALS = {0.5: 0.5, 0.9: 0.9, 1: 0.97, 2: 0.95, 5: 0.95, 10: 0.95}
REDIS_GOAL, REAL_GOAL = 0.90, 0.85
# An open loop whose photos come at even intervals still loses one or two at its end.
ROUNDING = 0.01
MODEL = "/v1/models/{}/predict"
BUILT_IN = "efficientnet-lite0"
GREYS = [grey(level) for level in range(1, 61)]
# The process is small, so that the allocator's own reserves are a large part of it.
SLACK_MB = 4
# Closed-loop clients that find the capacity: enough for a full batch in the engine and the next one behind it.
CAPACITY_CLIENTS = 20


class Table:
    """Prints each figure beside its goal as soon as it is known."""

    def __init__(self):
        self.missed = 0
        self.late = 0
        print("| load | figure | goal | measured | |\n| --- | --- | --- | --- | --- |", flush=True)

    def row(self, load: str, figure: str, goal: str, measured: str, holds: bool | None) -> None:
        """`holds` is None for a figure without a goal."""
        self.missed += holds is False
        verdict = {True: "reached", False: "MISSED", None: ""}[holds]
        print(f"| {load} | {figure} | {goal} | {measured} | {verdict} |", flush=True)

    def least(self, load: str, figure: str, goal: float, measured: float) -> None:
        self.row(load, figure, f"{goal:.2f}", f"{measured:.2f}", measured >= goal - ROUNDING)

    def most_ms(self, load: str, figure: str, goal_s: float, measured_s: float) -> None:
        holds = None if math.isnan(measured_s) else measured_s <= goal_s
        shown = "none" if holds is None else f"{measured_s * 1e3:.1f} ms"
        self.row(load, figure, f"{goal_s * 1e3:.0f} ms", shown, holds)

    def client(self, name: str, load: Load) -> None:
        """Says so where the client could not keep the load's time."""
        if load.client_is_slow():
            self.late += 1
            late = percentile(load.late_s, 0.99) * 1e3
            shown = f"{late:.0f} ms, with {load.client_share:.0%} of a core"
            self.row(name, "the measuring client was late: do not trust this load", "20 ms", shown, None)


def photos(path: str = "/predict", **headers) -> list[bytes]:
    headers = {"X_Timeout_Ms": DEADLINE_MS} | headers
    return [post(path, form(photo), **headers) for photo in GREYS]


async def capacity(url: str, requests: list[bytes], seconds: float) -> float:
    """Good answers a second, of clients that wait for each other for as long as it takes."""
    patient = [
        request.replace(b"X-Timeout-Ms: %d\r\n" % DEADLINE_MS, b"X-Timeout-Ms: 60000\r\n") for request in requests
    ]
    client = Client(url, 60)
    answers = await closed_loop(client, patient, CAPACITY_CLIENTS, seconds)
    client.close()
    return sum(answer.is_good for answer in answers) / seconds


async def watched(servers: list[Server], load, seconds: float) -> tuple[Load, float]:
    """A load, and how much memory grew after its first 10 s (or third, of a short run), as a part of what was held then."""
    task = asyncio.ensure_future(load)
    await asyncio.sleep(min(10, seconds / 3))
    resident = [server.resident_mb() for server in servers]
    most = list(resident)
    while not task.done():
        await asyncio.wait([task], timeout=0.2)
        most = [max(before, server.resident_mb()) for before, server in zip(most, servers, strict=True)]
    return task.result(), max(after / before - 1 for before, after in zip(resident, most, strict=True))


def in_time(load: Load) -> list:
    return [answer for answer in load.answers if answer.is_good and answer.took_s <= DEADLINE_MS / 1e3]


def figures(table: Table, name: str, load: Load, seconds: float, peak: float, goal: float) -> None:
    """The figures that every open loop has."""
    table.client(name, load)
    good, deadline = in_time(load), DEADLINE_MS / 1e3
    accepted = [answer for answer in load.answers if not answer.is_refusal]
    late = len(accepted) - len(good)
    refusals = [answer.took_s for answer in load.answers if answer.is_refusal]
    table.least(name, f"goodput of {peak:.1f}/s", goal, len(good) / seconds / peak)
    answered = [answer.took_s for answer in load.answers if answer.is_good]
    table.most_ms(name, "p99 of answered requests", deadline, percentile(answered, 0.99))
    table.most_ms(name, "time to a refusal, median", 0.005, percentile(refusals, 0.5))
    table.most_ms(name, "time to a refusal, p99", 0.02, percentile(refusals, 0.99))
    share = late / max(len(accepted), 1)
    table.row(name, "accepted, but late or failed", "1 %", f"{share:.1%} ({late})", share < 0.01)


async def loads(table: Table, name: str, servers: list[Server], urls: list[str], requests, options, goals) -> None:
    """Each load in turn, in shares to each of `urls`."""
    peak = sum(await asyncio.gather(*(capacity(url, requests, min(options.seconds, 10)) for url in urls)))
    for factor, goal in goals.items():
        clients = [Client(url, DEADLINE_MS / 1e3) for url in urls]
        rate = factor * peak / len(urls)
        each = asyncio.gather(*(open_loop(client, requests, rate, options.seconds) for client in clients))
        parts, growth = await watched(servers, each, options.seconds)
        load = Load(
            [answer for part in parts for answer in part.answers],
            [late for part in parts for late in part.late_s],
            max(part.client_share for part in parts),
        )
        row = f"{name}{factor:g} x"
        figures(table, row, load, options.seconds, peak, goal)
        table.row(row, "memory after 10 s", "10 %", f"{growth:+.0%}", growth <= 0.10)
        for client in clients:
            client.close()
        await settled(urls)


async def settled(urls: list[str]) -> None:
    """Waits until nothing is left of the last load."""
    for _ in range(300):
        if not any(metric(url, "ocelli_admitted_images") for url in urls):
            return
        await asyncio.sleep(0.1)


async def fake_loads(table: Table, options) -> None:
    with ocelli(*FAKE) as server:
        await loads(table, "", [server], [server.url], photos(), options, GOALS)


async def over_redis(table: Table, options) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(redis())
        shared = ["--redis", store.url, "--log-level", "error"]
        webs = [stack.enter_context(ocelli(*shared, role="web")) for _ in range(2)]
        for _ in range(2):
            stack.enter_context(ocelli(*FAKE, "--redis", store.url, role="worker"))
        urls = [web.url for web in webs]
        wait_for(
            lambda: all(metric(url, "ocelli_workers") == 2 for url in urls), "the web processes to know the workers"
        )
        goals = {factor: min(goal, REDIS_GOAL) for factor, goal in GOALS.items()}
        await loads(table, "Redis, ", webs, urls, photos(), options, goals)


async def real(table: Table, options) -> None:
    """The built-in model, where refusing costs processor time, and the Python server where it is installed."""
    photo = (ROOT / "examples" / "dog.jpg").read_bytes()
    requests = [post("/predict", form(photo), X_Timeout_Ms=DEADLINE_MS)]
    goals = {2: REAL_GOAL, 5: REAL_GOAL}
    with ocelli("--log-level", "error") as server:
        await loads(table, "built-in model, ", [server], [server.url], requests, options, goals)
    if not (ROOT / ".venv-bench").is_dir():
        table.row("FastAPI", "goodput", "", "not measured: `make bench` installs it", None)
        return
    with baseline("--int8") as server:
        peak = await capacity(server.url, requests, min(options.seconds, 10))
        for factor in goals:
            client = Client(server.url, DEADLINE_MS / 1e3)
            load = await open_loop(client, requests, factor * peak, options.seconds)
            client.close()
            share = len(in_time(load)) / options.seconds / peak
            table.row(f"FastAPI, {factor:g} x", f"goodput of {peak:.1f}/s", "", f"{share:.2f}", None)
            # It computes what nobody waits for any more.
            await asyncio.sleep(2)


async def burst(table: Table, options) -> None:
    with ocelli(*FAKE) as server:
        peak = await capacity(server.url, photos(), min(options.seconds, 10))
        calm, length = max(options.seconds / 3, 3), 2
        client = Client(server.url, DEADLINE_MS / 1e3)
        began = time.perf_counter()
        background = asyncio.ensure_future(open_loop(client, photos(), 0.5 * peak, 2 * calm + length))
        await asyncio.sleep(began + calm - time.perf_counter())
        flood = await open_loop(client, photos(), 9.5 * peak, length)
        load = await background
        client.close()
        over = began + calm + length
        bad = [answer.sent for answer in load.answers if answer not in in_time(load)]
        after = max((sent - over for sent in bad if sent > over), default=0)
        table.client("burst", flood)
        table.most_ms("burst: 0.5 x, 10 x for 2 s, 0.5 x", "last bad request after its end", 0.5, after)
        before = [sent for sent in bad if sent < began + calm]
        table.row("burst", "bad requests before it", "0", str(len(before)), not before)


@contextmanager
def two_models():
    """One process with the built-in model under two names."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("flooded", "other"):
            package = Path(folder) / name
            shutil.copytree(ROOT / "models" / BUILT_IN, package)
            manifest = package / "model.toml"
            manifest.write_text(manifest.read_text().replace(f'name = "{BUILT_IN}"', f'name = "{name}"', 1))
        with ocelli(*FAKE, "--model-dir", folder) as server:
            yield server


async def models(table: Table, options) -> None:
    with two_models() as server:
        flooded, other = (photos(MODEL.format(name)) for name in ("flooded", "other"))
        peak = await capacity(server.url, other, min(options.seconds, 10))
        rate, seconds = 0.5 * peak, options.seconds
        client, flood = (Client(server.url, DEADLINE_MS / 1e3) for _ in range(2))
        alone = await open_loop(client, other, rate, seconds)
        both = await asyncio.gather(
            open_loop(client, other, rate, seconds), open_loop(flood, flooded, 10 * peak, seconds)
        )
        client.close()
        flood.close()
        with urllib.request.urlopen(f"{server.url}/v1/models/other") as response:
            batch_s = json.load(response)["engine"]["max_batch"] * IMAGE_S
        table.client("two models", both[1])
        name = "two models, one at 10 x"
        table.least(name, "share of the other's requests in time", 1, len(in_time(both[0])) / len(both[0].answers))
        took = [
            percentile([answer.took_s for answer in load.answers if answer.is_good], 0.99) for load in (alone, both[0])
        ]
        table.most_ms(name, "the other's p99, alone and one batch more", took[0] + batch_s, took[1])


async def connections(table: Table, options) -> None:
    # Requests of so many clients wait for longer than 500 ms, as they want to.
    requests = photos(X_Timeout_Ms=60_000)
    with ocelli(*FAKE) as server:
        peak = await capacity(server.url, requests, min(options.seconds, 10))
        for clients in (256, 1024):
            client = Client(server.url, 60)
            answers = await closed_loop(client, requests, clients, options.seconds)
            client.close()
            good = sum(answer.is_good for answer in answers) / options.seconds
            table.least(f"{clients} connections, closed loop", f"goodput of {peak:.1f}/s", 0.95, good / peak)
            await settled([server.url])


ROUTES = ["/predict", MODEL.format(BUILT_IN), f"/v1/models/{BUILT_IN}/embed", "/v1/jobs"]
READ_ROUTES = ["/livez", "/readyz", "/metrics", "/v1/models", "/openapi.json", "/"]


async def hostile_traffic(url: str, scale: float, seconds: float) -> int:
    """Slow clients on all routes, clients that leave, malformed bodies; gives how many of those were not refused."""
    numbers, stop = random.Random(1), asyncio.Event()
    slow = [post(route, form(GREYS[0])) for route in ROUTES] + [http_load.get(route) for route in READ_ROUTES]
    each = max(int(40 * scale), 1)
    waiting = [asyncio.ensure_future(http_load.slow_client(url, one, 0.5, stop)) for one in slow for _ in range(each)]

    async def leave():
        for _ in range(int(1000 * scale)):
            await http_load.leaving_client(url, post("/predict", form(numbers.choice(GREYS))), numbers)

    wrong = 0

    async def garbage(client: Client, count: int):
        nonlocal wrong
        for _ in range(count):
            answer = await client.ask(http_load.malformed(numbers))
            # A job is accepted before its images are decoded.
            wrong += not (400 <= answer.status < 500 or answer.status == 202)

    client, senders = Client(url, 10), 8
    began = time.perf_counter()
    await asyncio.gather(leave(), *(garbage(client, int(10_000 * scale) // senders) for _ in range(senders)))
    await asyncio.sleep(max(began + seconds - time.perf_counter(), 0))
    stop.set()
    await asyncio.gather(*waiting)
    client.close()
    return wrong


async def hostile(table: Table, options) -> None:
    name = "slow, leaving and malformed clients"
    with ocelli(*FAKE) as server:
        peak = await capacity(server.url, photos(), min(options.seconds, 10))
        # What the first of all these makes the process keep for good.
        await hostile_traffic(server.url, options.scale / 4, 1)
        await settled([server.url])
        before = (open_files(server), server.resident_mb())
        client = Client(server.url, 10)
        good = open_loop(client, photos(X_Timeout_Ms=10_000), 0.5 * peak, options.seconds)
        load, wrong = await asyncio.gather(good, hostile_traffic(server.url, options.scale, options.seconds))
        client.close()
        table.client(name, load)
        failed = sum(not answer.is_good for answer in load.answers)
        table.row(name, "good requests that failed", "0", f"{failed} of {len(load.answers)}", failed == 0)
        table.row(name, "malformed bodies not refused", "0", str(wrong), wrong == 0)
        await settled([server.url])
        for _ in range(150):
            if open_files(server) <= before[0]:
                break
            await asyncio.sleep(0.1)
        files, resident = open_files(server), server.resident_mb()
        table.row(name, "file descriptors afterwards", f"{before[0]}", str(files), files <= before[0])
        most = before[1] * 1.1 + SLACK_MB
        table.row(name, "memory afterwards", f"{most:.0f} MB", f"{resident:.0f} MB", resident <= most)
        left = metric(server.url, "ocelli_admitted_images") + metric(server.url, "ocelli_receiving_requests")
        table.row(name, "images and requests left", "0", f"{left:.0f}", left == 0)


def open_files(server: Server) -> int:
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


PARTS = {
    "loads": fake_loads,
    "burst": burst,
    "models": models,
    "redis": over_redis,
    "connections": connections,
    "hostile": hostile,
    "real": real,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="length of each run [default: 30]")
    parser.add_argument(
        "--scale", type=float, default=1, help="hostile clients, as a part of those of the table [default: 1]"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts of the table [default: all]"
    )
    options = parser.parse_args()
    print(f"{machine()}; {options.seconds:g} s each; deadline {DEADLINE_MS} ms, {IMAGE_S * 1e3:.0f} ms an image\n")
    table = Table()
    for name in options.only:
        asyncio.run(PARTS[name](table, options))
    print(f"\n{table.missed} goals missed" if table.missed else "\nall goals reached")
    if table.late:
        print(
            f"In {table.late} of the loads the client had too little processor time: other programs use this machine."
        )
    sys.exit(bool(table.missed))


if __name__ == "__main__":
    main()
