"""Reads a page: its blocks in order, their commands, what these print, and the marks in front of a block.

A mark is an HTML comment directly before a block, which a reader of the page does not see:

    <!-- not run: REASON -->     the block cannot run in a test
    <!-- prepare: COMMANDS -->   what the page takes for granted, one command a line, run before the block's own
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SHELLS = {"sh", "bash", "console"}
RUN = SHELLS | {"python"}
# Blocks of these languages are the output of the block before, if no text is in between.
SHOWN = {"text", "json"}
OTHER = {"toml", "yaml", "nginx", "ini", ""}

FENCE = re.compile(r"^```(.*)$")
MARK = re.compile(r"<!--\s*(?P<name>[^:]*?)\s*(?::(?P<text>.*?))?\s*-->", re.DOTALL)


class PageError(Exception):
    """An error in the markup of a page; the message has the page and line."""


@dataclass
class Command:
    line: int
    text: str
    # None if the page shows no output.
    output: list[str] | None = None


@dataclass
class Block:
    line: int
    language: str
    lines: list[str]
    not_run: str | None = None
    prepare: list[Command] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)


def read_page(path: Path, name: str) -> list[Block]:
    """The blocks of a page with commands."""
    return parse_page(path.read_text(), name)


def parse_page(text: str, name: str) -> list[Block]:
    blocks = []
    before: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if not fence:
            before.append(lines[at])
            at += 1
            continue
        start = at + 1
        end = next((i for i in range(start, len(lines)) if lines[i].rstrip() == "```"), None)
        if end is None:
            raise PageError(f"{name}:{start}: the block does not end")
        block = Block(start, fence[1].strip(), lines[start:end])
        if block.language not in RUN | SHOWN | OTHER:
            raise PageError(f"{name}:{start}: unknown language '{block.language}'")
        marks = marks_before(before)
        if block.language in RUN:
            read_marks(block, marks, name)
            block.commands = commands(block, name)
            blocks.append(block)
        elif marks:
            raise PageError(f"{name}:{start}: only a block of commands has marks")
        elif block.language in SHOWN and blocks and not "".join(before).strip():
            show(blocks[-1], block, name)
        before = []
        at = end + 1
    return blocks


def marks_before(lines: list[str]) -> str:
    """The comments directly before a block."""
    text = "\n".join(lines).rstrip()
    found = ""
    while text.endswith("-->") and "<!--" in text:
        start = text.rindex("<!--")
        found = text[start:] + "\n" + found
        text = text[:start].rstrip()
    return found


def read_marks(block: Block, marks: str, name: str):
    for mark in MARK.finditer(marks):
        text = (mark["text"] or "").strip()
        if not text:
            raise PageError(f"{name}:{block.line}: the mark '{mark['name']}' needs a text: {mark['name']}: ...")
        if mark["name"] == "not run":
            block.not_run = " ".join(text.split())
        elif mark["name"] == "prepare":
            block.prepare = [Command(block.line, line) for line in joined(text.splitlines())]
        else:
            raise PageError(f"{name}:{block.line}: unknown mark '{mark['name']}'; known: not run, prepare")
    if block.not_run and block.prepare:
        raise PageError(f"{name}:{block.line}: a block that is not run needs no preparation")


def commands(block: Block, name: str) -> list[Command]:
    if block.language == "python":
        return [Command(block.line + 1, "\n".join(block.lines))]
    if block.language == "console":
        return console(block, name)
    found, at = [], block.line + 1
    for text in joined(block.lines):
        if text.strip() and not text.lstrip().startswith("#"):
            found.append(Command(at, text))
        at += text.count("\n") + 1
    return found


def console(block: Block, name: str) -> list[Command]:
    """Lines after `$ ` are commands, and the following lines are their output."""
    found: list[Command] = []
    for number, line in enumerate(block.lines, block.line + 1):
        if line.startswith("$ "):
            found.append(Command(number, line[2:]))
        elif not found:
            raise PageError(f"{name}:{number}: a console block starts with a command, '$ ...'")
        elif found[-1].text.endswith("\\") and found[-1].output is None:
            found[-1].text += "\n" + line.removeprefix("> ")
        else:
            found[-1].output = [*(found[-1].output or []), line]
    for command in found:
        while command.output and not command.output[-1].strip():
            command.output.pop()
    return found


def show(block: Block, shown: Block, name: str):
    """Uses the block after a block of commands as the output of its last command."""
    if block.not_run:
        return
    if not block.commands or block.commands[-1].output is not None:
        raise PageError(f"{name}:{shown.line}: the block before shows its output already")
    block.commands[-1].output = shown.lines


def joined(lines: list[str]) -> list[str]:
    """The commands of a script, each of one or more lines."""
    found: list[str] = []
    for line in lines:
        if found and not is_whole(found[-1]):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def is_whole(text: str) -> bool:
    if text.rstrip(" ").endswith("\\"):
        return False
    checked = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, timeout=60, check=False)
    # An unterminated here-document is only a warning.
    return checked.returncode == 0 and "here-document" not in checked.stderr
