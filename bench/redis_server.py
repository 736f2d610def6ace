"""A Redis server for the benchmark, and a minimal client."""

import re
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import RELEASE, START_LIMIT_S, free_port, processor_s, stop

PROGRAM = RELEASE.parent / "test-servers" / "redis-server"


@dataclass
class Redis:
    """A running server and one connection to it."""

    process: subprocess.Popen
    port: int
    stream: socket.SocketIO

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def command(self, *parts) -> bytes | int | list | None:
        """Runs one command and returns the reply."""
        encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
        bulks = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)
        self.stream.write(b"*%d\r\n%s" % (len(encoded), bulks))
        self.stream.flush()
        return self._answer()

    def _answer(self) -> bytes | int | list | None:
        kind, line = self.stream.read(1), self.stream.readline()[:-2]
        match kind:
            case b"+":
                return line
            case b":":
                return int(line)
            case b"$" if line == b"-1":
                return None
            case b"$":
                return self.stream.read(int(line) + 2)[:-2]
            case b"*":
                return [self._answer() for _ in range(int(line))]
        raise SystemExit(f"Redis: {(kind + line).decode()}")

    def used_memory(self) -> int:
        """Used bytes, without temporary buffers of connections."""
        info = self.command("INFO", "memory").decode()
        figures = {name: int(value) for name, value in re.findall(r"^(\w+):(\d+)\r$", info, re.M)}
        return figures["used_memory"] - figures["mem_clients_normal"]

    def version(self) -> str:
        return re.search(r"redis_version:(\S+)", self.command("INFO", "server").decode())[1]

    def cpu_s(self) -> float:
        return processor_s(self.process)


@contextmanager
def redis():
    """Runs an empty Redis without persistence for the duration of the context."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]
    process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL, cwd=Path("/"))
    try:
        with connect(process, port) as connection, connection.makefile("rwb") as stream:
            yield Redis(process, port, stream)
    finally:
        stop(process)


def connect(process: subprocess.Popen, port: int) -> socket.socket:
    began = time.perf_counter()
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if process.poll() is not None or time.perf_counter() - began > START_LIMIT_S:
                raise SystemExit(f"{PROGRAM} did not start; `make test-servers` puts it there") from None
            time.sleep(0.005)
