"""Checks that each folder of `crates/ocelli/src` uses only those below it (ARCHITECTURE.md shows the order).

Prints every import that points upwards, and ends with status 1 if there is one. Tests inside the files are left out: they may
use anything.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# From the top down.
ORDER = (
    "commands",
    "cli",
    "server",
    "http",
    "async_jobs",
    "model_manager",
    "inference",
    "executor",
    "queue",
    "metrics",
    "output",
    "models",
    "error",
    "hub",
    "compute",
    "process",
)
# These files use all folders.
ROOTS = ("lib", "main")

COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod tests \{.*", re.DOTALL)
PATH = re.compile(r"\bcrate::(\w+)")


def violations(name: Path, code: str) -> Iterator[str]:
    """The violations in one file; `name` is relative to `src`."""
    folder = name.parts[0].removesuffix(".rs")
    if folder in ROOTS or name.name == "tests.rs":
        return
    if folder not in ORDER:
        yield f"{name}: {folder} has no place in the order of tools/ci/module_order.py"
        return
    code = TESTS.sub("", COMMENT.sub("", code))
    for used in sorted(set(PATH.findall(code)) - {folder}):
        if used not in ORDER:
            yield f"{name}: uses {used}, which has no place in the order of tools/ci/module_order.py"
        elif ORDER.index(used) < ORDER.index(folder):
            yield f"{name}: uses crate::{used}, which is above {folder}"


def main(source: Path) -> int:
    files = sorted(source.rglob("*.rs"))
    if not files:
        print(f"{source} has no Rust files", file=sys.stderr)
        return 1
    found = [line for file in files for line in violations(file.relative_to(source), file.read_text())]
    for line in found:
        print(line, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path("crates/ocelli/src")))
