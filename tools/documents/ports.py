"""Replaces the ports of a page by free ones if it cannot have its own network namespace."""

import re
import socket

NAMED = re.compile(r"(?<=:)(5\d{3}|6379)\b")
DEFAULT_REDIS = re.compile(r"(redis://localhost)(?=[\s'\"/]|$)")
SERVER = re.compile(r"\bocelli (serve|web)\b(?!.*--listen)")


class Ports:
    def __init__(self, free=None):
        self.free = free or free_port
        self.instead: dict[str, str] = {}

    def of(self, named: str) -> str:
        if named not in self.instead:
            self.instead[named] = str(self.free())
        return self.instead[named]

    def shown(self, text: str) -> str:
        """The expected output with the ports of this run."""
        return NAMED.sub(lambda port: self.of(port[1]), text)

    def command(self, text: str) -> str:
        """A command of the page with the ports of this run, including default ports."""
        text = self.shown(DEFAULT_REDIS.sub(r"\1:6379", text))
        text = SERVER.sub(lambda server: f"{server[0]} --listen 127.0.0.1:{self.of('5000')}", text)
        text = re.sub(r"^redis-server\b", f"redis-server --port {self.of('6379')}", text)
        return re.sub(r"^make serve\b", f"make serve SERVE_ARGS='--listen 127.0.0.1:{self.of('5000')}'", text)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
