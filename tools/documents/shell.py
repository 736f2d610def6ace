"""The terminal of a page: one bash in its own network namespace, with servers in the background."""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

# A command that takes longer has failed.
LIMIT_S = 120
SERVER = re.compile(r"^(?:\S*/)?(?:ocelli\s+(?:serve|web|worker)\b(?!.*--help)|redis-server\b|make\s+serve\b)")
BACKGROUND = re.compile(r"\s&\s*(?:#.*)?$")
READY = re.compile(r"\sINFO ready\b|Ready to accept connections")
OWN_NETWORK = ["unshare", "--map-root-user", "--net", "bash", "-c", 'ip link set lo up && exec "$@"', "bash"]


class CommandFailure(Exception):
    """A command whose result differs from the page."""


def can_have_own_network() -> bool:
    try:
        return subprocess.run([*OWN_NETWORK, "true"], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


def is_server(text: str) -> bool:
    return bool(SERVER.match(text))


class Shell:
    def __init__(self, folder: Path, logs: Path, environment: dict[str, str], own_network: bool):
        self.folder, self.logs = folder, logs
        self.files = 0
        # The process groups of the servers, in start order.
        self.servers: list[int] = []
        command = ["bash", "--norc", "--noprofile"]
        self.bash = subprocess.Popen(
            OWN_NETWORK + command if own_network else command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        # Each command has its own process group, which can be stopped with all its children.
        self.ask("set -m; echo ready")

    def ask(self, line: str) -> str:
        """Runs a line in bash that prints one line, and returns it."""
        self.bash.stdin.write(f"{line}\n".encode())
        answer, deadline = b"", time.monotonic() + LIMIT_S
        while not answer.endswith(b"\n"):
            readable, _, _ = select.select([self.bash.stdout], [], [], max(0, deadline - time.monotonic()))
            part = os.read(self.bash.stdout.fileno(), 4096) if readable else b""
            if not part:
                raise CommandFailure("the shell has ended" if readable else f"it takes longer than {LIMIT_S} s")
            answer += part
        return answer.decode().strip()

    def go_home(self):
        """Changes to the root of the checkout, where each block starts."""
        self.ask(f"cd '{self.folder}'; echo done")

    def run(self, text: str) -> tuple[int, list[str]]:
        """Runs a command; returns its status and output lines."""
        script, printed = self.script(text)
        status = self.ask(f". '{script}' >'{printed}' 2>&1 </dev/null; echo $?")
        return int(status), printed.read_text(errors="replace").splitlines()

    def serve(self, text: str) -> list[str]:
        """Starts a server; returns its output when it is ready."""
        script, printed = self.script(BACKGROUND.sub("", text))
        ended = script.with_suffix(".status")
        answer = self.ask(f"{{ . '{script}'; echo $? >'{ended}'; }} >'{printed}' 2>&1 </dev/null & echo $!")
        self.servers.append(int(answer))
        deadline = time.monotonic() + LIMIT_S
        while not READY.search(log := printed.read_text(errors="replace") if printed.exists() else ""):
            if ended.exists() or time.monotonic() > deadline:
                raise CommandFailure("the server did not become ready; it printed:\n" + log)
            time.sleep(0.05)
        return log.splitlines()

    def stop_servers(self):
        for group in reversed(self.servers):
            self.ask(f"kill -TERM -- -{group}; wait {group}; echo done")
        self.servers.clear()

    def script(self, text: str) -> tuple[Path, Path]:
        self.files += 1
        script = self.logs / f"{self.files:03}.sh"
        script.write_text(text + "\n")
        return script, script.with_suffix(".out")

    def close(self):
        with contextlib.suppress(CommandFailure, OSError):
            self.stop_servers()
        # Remaining processes of the page, by session.
        for process in Path("/proc").glob("[0-9]*"):
            try:
                session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
                if session == self.bash.pid:
                    os.kill(int(process.name), signal.SIGKILL)
            except (OSError, ValueError, IndexError):
                continue
        self.bash.wait(timeout=60)
        self.bash.stdin.close()
        self.bash.stdout.close()
