"""Runs the blocks of a page in order, in one terminal, and reports the results."""

import shlex
import sys
import time
from dataclasses import dataclass, field

from documents.output import compare, with_ids
from documents.page import Block, Command
from documents.ports import Ports
from documents.shell import CommandFailure, Shell, is_server

# Time limit for retrying a command until its output matches, for example while a worker starts or a job is computed.
PATIENCE_S = 20


@dataclass
class Report:
    ran: int = 0
    not_run: list[tuple[Block, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Reader:
    def __init__(self, name: str, shell: Shell, ports: Ports | None):
        self.name, self.shell, self.ports = name, shell, ports
        self.ids: dict[str, str] = {}

    def read(self, blocks: list[Block]) -> Report:
        report = Report()
        for block in blocks:
            if block.not_run:
                report.not_run.append((block, block.not_run))
                continue
            report.ran += 1
            try:
                self.run_block(block)
            except CommandFailure as failure:
                report.failures.append(str(failure))
        return report

    def run_block(self, block: Block):
        self.shell.go_home()
        steps = [*block.prepare, *block.commands]
        # Servers of earlier blocks are stopped before others start on the same ports.
        if any(is_server(step.text) for step in steps):
            self.shell.stop_servers()
        for command in block.prepare:
            self.run_command(command, "sh")
        self.shell.go_home()
        for command in block.commands:
            self.run_command(command, block.language)

    def run_command(self, command: Command, language: str):
        text = with_ids(command.text, self.ids)
        shown = command.output
        if self.ports:
            text = self.ports.command(text)
            shown = shown and [self.ports.shown(line) for line in shown]
        if language == "python":
            text = shlex.join([sys.executable, "-c", text])
        where = f"{self.name}:{command.line}: {text.splitlines()[0]}"
        try:
            if is_server(text):
                self.check(shown, self.shell.serve(text), more=True)
            else:
                self.run_until_right(text, shown)
        except CommandFailure as failure:
            raise CommandFailure(f"{where}\n{failure}") from None

    def run_until_right(self, text: str, shown: list[str] | None):
        patient = text.startswith("curl ") or " queue status" in text
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, printed = self.shell.run(text)
            try:
                if status != 0:
                    raise CommandFailure(f"exit status {status}; it printed:\n" + "\n".join(printed))
                return self.check(shown, printed)
            except CommandFailure:
                if not patient or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def check(self, shown: list[str] | None, printed: list[str], more: bool = False):
        """Accepts any output if the page shows none."""
        if shown is None:
            return
        ids = compare([with_ids(line, self.ids) for line in shown], printed, more)
        if ids is None:
            raise CommandFailure("\n".join(["the page shows:", *shown, "it printed:", *printed]))
        self.ids |= ids
