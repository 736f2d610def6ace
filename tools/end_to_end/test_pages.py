"""Runs every command of README and docs, in the order of each page, and compares what it prints with what is shown.

Run with `make test-docs`. CONTRIBUTING.md says how a page is written for it.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from documents.checkout import make_checkout
from documents.page import read_page
from documents.ports import Ports
from documents.run import Reader
from documents.shell import Shell, can_have_own_network

ROOT = Path(__file__).resolve().parents[2]
OCELLI = Path(os.environ.get("OCELLI", ROOT / "target" / "debug" / "ocelli")).resolve()
PAGES = ["README.md", "CONTRIBUTING.md", "docs/*.md", "deploy/*.md", "examples/*.md"]
INLINE = re.compile(r"`(?:target/release/)?((?:ocelli|make) [^`]+)`")


def pages() -> list[str]:
    wanted = os.environ.get("PAGES", "").split() or PAGES
    return [str(path.relative_to(ROOT)) for pattern in wanted for path in sorted(ROOT.glob(pattern))]


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.own_network = can_have_own_network()
        if not cls.own_network:
            say("WARNING: `unshare --net` does not work here, so the pages run in this machine's network.")
            say("WARNING: Free ports stand in for those that the pages name.")

    def test_every_command_does_what_the_page_shows(self):
        for name in pages():
            with self.subTest(page=name):
                report = self.read(name)
                say(f"{name}: {report.ran} blocks ran, {len(report.not_run)} not")
                for block, reason in report.not_run:
                    say(f"  {name}:{block.line} not run: {reason}")
                if report.failures:
                    self.fail("\n\n" + "\n\n".join(report.failures))

    def read(self, name: str):
        blocks = read_page(ROOT / name, name)
        target = ROOT / "target" / "tmp"
        target.mkdir(parents=True, exist_ok=True)
        # On the disk of the programs, so that these need not be copied.
        with tempfile.TemporaryDirectory(prefix="page-", dir=target) as folder:
            checkout = make_checkout(ROOT, OCELLI, Path(folder))
            shell = Shell(checkout.root, checkout.logs, checkout.environment(ROOT), self.own_network)
            try:
                return Reader(name, shell, None if self.own_network else Ports()).read(blocks)
            finally:
                shell.close()

    def test_commands_in_the_text_exist(self):
        """`ocelli serve --model DIR` in a sentence or a table is a command with that option, and `make x` a target."""
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for name in pages():
            text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)
            for command in INLINE.findall(text):
                with self.subTest(page=name, command=command):
                    words = command.split()
                    if words[0] == "make":
                        self.assertIn(words[1], targets)
                    else:
                        self.assert_options_exist(words[1:])

    def assert_options_exist(self, words: list[str]):
        commands = []
        for word in words:
            if not re.fullmatch(r"[a-z]+", word) or len(commands) == depth(commands):
                break
            commands.append(word)
        shown = subprocess.run([OCELLI, *commands, "--help"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        known = set(re.findall(r"--[a-z0-9-]+", shown.stdout))
        for word in words:
            if option := re.match(r"--[a-z0-9-]+", word):
                self.assertIn(option[0], known)


def depth(commands: list[str]) -> int:
    """How many words name the command."""
    if commands[:2] == ["queue", "dead"]:
        return 3
    return 2 if commands and commands[0] in {"model", "queue"} else 1


def say(line: str):
    print(line, file=sys.stderr, flush=True)
