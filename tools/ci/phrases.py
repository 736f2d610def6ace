"""Refuses phrases that have plainer forms in texts, comments, messages and names: `phrases.py LIST FILE...`.

LIST is tools/ci/phrases.txt. A line break inside a comment or a string counts as a space, and so does an underscore.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

SUFFIXES = {".rs", ".md", ".py", ".lua", ".toml", ".sh", ".yaml", ".yml", ".conf", ".service", ".proto", ".json"}
NAMES = {"Makefile", "Dockerfile", "run"}
# Between two words of a phrase: spaces, and the marks that continue a comment or a string on the next line.
GAP = r"(?:[ \t_]|\\?\n[ \t]*(?://[/!]?|#|--|\*)?)+"


class Phrase(NamedTuple):
    pattern: re.Pattern
    instead: str


class Hit(NamedTuple):
    line: int
    phrase: str
    instead: str


def read_list(text: str) -> list[Phrase]:
    phrases = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        forms, _, instead = line.partition(":")
        if not instead.strip():
            raise SystemExit(f"phrases: {line!r} needs a colon and a plainer form")
        alternatives = "|".join(GAP.join(map(re.escape, form.split())) for form in forms.split("|"))
        pattern = re.compile(f"(?<![A-Za-z])(?:{alternatives})(?![A-Za-z])", re.IGNORECASE)
        phrases.append(Phrase(pattern, instead.strip()))
    return phrases


def find(phrases: list[Phrase], text: str) -> list[Hit]:
    hits = []
    for phrase in phrases:
        for match in phrase.pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            hits.append(Hit(line, re.sub(GAP, " ", match.group()), phrase.instead))
    return sorted(hits)


def is_checked(path: Path) -> bool:
    return path.suffix in SUFFIXES or path.name in NAMES


def main(phrase_list: str, *files: str) -> int:
    phrases = read_list(Path(phrase_list).read_text())
    failed = False
    for path in map(Path, files):
        # A deleted file that is not yet staged has no text to check.
        if not is_checked(path) or not path.is_file():
            continue
        for hit in find(phrases, path.read_text(errors="replace")):
            print(f'{path}:{hit.line}: "{hit.phrase}" has a plainer form: {hit.instead}', file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
