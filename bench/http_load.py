"""An HTTP/1.1 client that never waits for itself: what is due is sent, and each answer is timed. Used by overload.py and soak.py."""

import asyncio
import itertools
import json
import random
import re
import struct
import time
import zlib
from dataclasses import dataclass, field

BOUNDARY = b"ocelli-load"
FORM = "multipart/form-data; boundary=" + BOUNDARY.decode()
# Beyond its deadline, for an answer to come before the server counts as silent.
GRACE_S = 5
# Until a closed loop is steady.
RAMP_S = 1
# A client that sends this much later than it should is busy with itself, and its figures are its own.
LATE_S = 0.02


@dataclass(slots=True)
class Answer:
    """What became of a request: its status, or 0 where the connection ended or nothing came."""

    status: int
    code: str
    sent: float
    took_s: float
    body: bytes = b""
    retry_after_s: float = 0

    @property
    def is_good(self) -> bool:
        return self.status == 200

    @property
    def is_refusal(self) -> bool:
        """Refused before anything was computed, as opposed to accepted and too late."""
        return self.status in (429, 503)


class Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self):
        self.transport = None
        self.buffer = bytearray()
        self.waiter = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self.buffer[: head + 2])
        if length and len(self.buffer) >= head + 4 + int(length[1]) and self.waiter and not self.waiter.done():
            self.waiter.set_result((bytes(self.buffer[:head]), bytes(self.buffer[head + 4 :])))
            self.buffer.clear()

    def connection_lost(self, error):
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(error or ConnectionResetError())

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiter


class Client:
    """Any number of connections to one server, which are used again."""

    def __init__(self, url: str, timeout_s: float):
        host, port = url.removeprefix("http://").split(":")
        self.host, self.port, self.timeout_s = host, int(port), timeout_s
        self.idle: list[Connection] = []

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self.host, self.port)
        return connection

    async def ask(self, request: bytes) -> Answer:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.timeout_s + GRACE_S):
                while self.idle and self.idle[-1].transport.is_closing():
                    self.idle.pop()
                connection = self.idle.pop() if self.idle else await self.connect()
                head, body = await connection.ask(request)
        except TimeoutError:
            connection.transport.abort()
            return Answer(0, "silent", began, time.perf_counter() - began)
        except OSError:
            return Answer(0, "connection", began, time.perf_counter() - began)
        took = time.perf_counter() - began
        if b"connection: close" in head.lower():
            connection.transport.close()
        else:
            self.idle.append(connection)
        status = int(head.split(b" ", 2)[1])
        again = re.search(rb"(?i)\r\nretry-after: *(\d+)", head)
        return Answer(status, code_of(status, body), began, took, body, float(again[1]) if again else 0)

    def close(self) -> None:
        for connection in self.idle:
            connection.transport.abort()
        self.idle.clear()


def code_of(status: int, body: bytes) -> str:
    if status < 400:
        return "ok"
    try:
        return json.loads(body).get("code", str(status))
    except ValueError:
        return str(status)


@dataclass
class Load:
    """What an open loop sent, and what came of it."""

    answers: list[Answer] = field(default_factory=list)
    # How much later than it was due each request was sent.
    late_s: list[float] = field(default_factory=list)
    client_share: float = 0

    def client_is_slow(self) -> bool:
        return percentile(self.late_s, 0.99) > LATE_S


async def open_loop(client: Client, requests: list[bytes], rate: float, seconds: float) -> Load:
    """Sends requests at even intervals, whatever becomes of the earlier ones, and waits for the last answer."""
    load, under_way = Load(), set()
    began, spent = time.perf_counter(), time.process_time()

    async def one(request: bytes):
        load.answers.append(await client.ask(request))

    for number, request in enumerate(itertools.islice(itertools.cycle(requests), int(rate * seconds))):
        due = began + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        load.late_s.append(max(time.perf_counter() - due, 0))
        task = asyncio.ensure_future(one(request))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    # Of one core, while it sent.
    load.client_share = (time.process_time() - spent) / (time.perf_counter() - began)
    while under_way:
        await asyncio.wait(under_way)
    return load


async def closed_loop(client: Client, requests: list[bytes], clients: int, seconds: float) -> list[Answer]:
    """Clients that each send a request after their last answer, or when a refusal lets them. Answers of `seconds`, once the
    load is steady."""
    answers, start = [], time.perf_counter() + RAMP_S
    stop = start + seconds

    async def one(index: int):
        for request in itertools.islice(itertools.cycle(requests), index, None):
            if time.perf_counter() >= stop:
                return
            answer = await client.ask(request)
            answers.append(answer)
            if not answer.is_good:
                await asyncio.sleep(min(answer.retry_after_s or 0.1, max(stop - time.perf_counter(), 0)))

    tasks = [asyncio.ensure_future(one(index)) for index in range(clients)]
    await asyncio.wait(tasks, timeout=RAMP_S + seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [answer for answer in answers if start <= answer.sent + answer.took_s <= stop]


def percentile(values, share: float) -> float:
    """Not a number where there are no values."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def post(path: str, body: bytes, kind: str = FORM, **headers) -> bytes:
    """A request; headers are `X_Timeout_Ms=500`."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: load\r\n\r\n".encode()


def form(*images: bytes) -> bytes:
    part = b'--%s\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n%s\r\n'
    return b"".join(part % (BOUNDARY, image) for image in images) + b"--%s--\r\n" % BOUNDARY


def grey(level: int, side: int = 8) -> bytes:
    """A PNG of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([level]) * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def malformed(numbers: random.Random) -> bytes:
    """A request whose head is right and whose body is not."""
    image = bytearray(grey(numbers.randrange(1, 60)))
    kind, path = FORM, numbers.choice(["/predict", "/v1/models/efficientnet-lite0/predict", "/v1/jobs"])
    match numbers.randrange(5):
        case 0:
            body = form(bytes(image[: numbers.randrange(40)]))
        case 1:
            # In its signature.
            image[numbers.randrange(8)] ^= 1 << numbers.randrange(8)
            body = form(bytes(image))
        case 2:
            body = numbers.randbytes(numbers.randrange(1, 4000))
        case 3:
            kind, body = "application/json", b'{"image":"' + numbers.randbytes(60).hex().encode() + b"%"
        case _:
            kind, body = "application/json", b"[" * numbers.randrange(1, 5000)
    return post(path, body, kind)


async def slow_client(url: str, request: bytes, pause_s: float, stop: asyncio.Event) -> None:
    """Sends a request a byte at a time until it is cut off or `stop` is set."""
    host, port = url.removeprefix("http://").split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
        for at in range(len(request)):
            writer.write(request[at : at + 1])
            await writer.drain()
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
                break
            except TimeoutError:
                continue
        writer.close()
    except OSError:
        return


async def leaving_client(url: str, request: bytes, numbers: random.Random) -> None:
    """Sends a part of a request, or all of it, and leaves without reading."""
    host, port = url.removeprefix("http://").split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request[: numbers.randrange(1, len(request) + 1)])
        await asyncio.sleep(numbers.random() * 0.1)
        writer.transport.abort()
    except OSError:
        return
