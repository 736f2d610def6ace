"""Formats of models that are not ONNX: which files are in one, and the server's sentence about each. Pure, but for whether files
are there."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "crates" / "ocelli-vision" / "src" / "formats.toml"


@dataclass(frozen=True)
class Format:
    """An entry of the server's table, which documents the fields."""

    id: str
    files: tuple[str, ...]
    sentence: str
    parts: tuple[str, ...] = ()
    paired: bool = False


FORMATS = tuple(Format(**entry) for entry in tomllib.loads(TABLE.read_text(encoding="utf-8"))["format"])
BY_ID = {entry.id: entry for entry in FORMATS}


def of_path(path: Path) -> Format | None:
    """The format of a file or folder, by its name and the names beside it."""
    return of_name(path.name, lambda name: path.with_name(name).exists())


def of_name(name: str, is_beside: Callable[[str], bool]) -> Format | None:
    lower = name.lower()
    for entry in FORMATS:
        for part in entry.parts:
            endings = [pattern[1:] for pattern in entry.files if lower.endswith(part)]
            if any(is_beside(name[: -len(part)] + ending) for ending in endings):
                return entry
    found = [
        (len(pattern), entry)
        for entry in FORMATS
        for pattern in entry.files
        if fnmatchcase(lower, pattern) and (not entry.paired or _has_part(entry, name, is_beside))
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def among(folder: Path) -> tuple[str, Format] | None:
    """The entry of `folder` to report, and its format."""
    found = [(path.name, of_path(path)) for path in sorted(folder.iterdir())]
    known = [(name, entry) for name, entry in found if entry is not None]
    return min(known, key=lambda pair: FORMATS.index(pair[1]), default=None)


def _has_part(entry: Format, name: str, is_beside: Callable[[str], bool]) -> bool:
    return any(is_beside(name.rsplit(".", 1)[0] + part) for part in entry.parts)
