"""Compares what a command printed with what a page shows.

- `...` in a line stands for any text, and alone in a line for any number of lines.
- A number with a decimal point may differ by a twentieth; one without must be the same. Times (2026-11-22T15:00:00.000Z)
  may be others.
- An id of 32 hexadecimal digits may be another one, which then stands for it in the rest of the page.
- Spaces count as one; the time at the start of a log line does not count.
"""

import re

TOLERANCE = 0.05
TOKENS = re.compile(
    r"(?P<any>\.\.\.)"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"
    r"|(?P<id>(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f]))"
    r"|(?P<decimal>(?<![\w.])-?\d+\.\d+(?:e-?\d+)?(?![\w]|\.\d))"
    r"|(?P<space>\s+)"
)
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
DECIMAL = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"
LOG_TIME = re.compile(rf"^{TIME}\s+")


class Line:
    """The pattern of a line of a page."""

    def __init__(self, text: str):
        # The expected value of each group: the number or id of the page.
        self.numbers: list[str] = []
        pattern, at = "", 0
        for token in TOKENS.finditer(text):
            pattern += re.escape(text[at : token.start()]) + self.token(token)
            at = token.end()
        self.pattern = re.compile(pattern + re.escape(text[at:]))

    def token(self, token: re.Match) -> str:
        kind = token.lastgroup
        if kind == "any":
            return ".*?"
        if kind == "time":
            return TIME
        if kind == "space":
            return r"\s+"
        self.numbers.append(token[0])
        return r"\b([0-9a-f]{32})\b" if kind == "id" else DECIMAL

    def match(self, printed: str) -> dict[str, str] | None:
        """Maps the page's ids to the printed ones, or None if the line differs."""
        found = self.pattern.fullmatch(printed)
        if not found:
            return None
        ids = {}
        for wanted, got in zip(self.numbers, found.groups(), strict=True):
            if re.fullmatch("[0-9a-f]{32}", wanted):
                if ids.setdefault(wanted, got) != got:
                    return None
            elif abs(float(got) - float(wanted)) > TOLERANCE * abs(float(wanted)):
                return None
        return ids


def compare(shown: list[str], printed: list[str], more: bool = False) -> dict[str, str] | None:
    """The printed ids by those of the page, or None if the page shows something else.

    With `more` further lines may follow those shown, as those of a server that runs on.
    """
    shown = [LOG_TIME.sub("", line.strip()) for line in shown]
    printed = [LOG_TIME.sub("", line.strip()) for line in printed]
    while printed and not printed[-1]:
        printed.pop()
    return follow([line if line == "..." else Line(line) for line in shown], printed, {}, more)


def follow(shown: list, printed: list[str], ids: dict[str, str], more: bool) -> dict[str, str] | None:
    if not shown:
        return ids if more or not printed else None
    first, rest = shown[0], shown[1:]
    if first == "...":
        found = (follow(rest, printed[skipped:], ids, more) for skipped in range(len(printed) + 1))
        return next((ids for ids in found if ids is not None), None)
    new = first.match(printed[0]) if printed else None
    if new is None or any(ids.get(wanted, got) != got for wanted, got in new.items()):
        return None
    return follow(rest, printed[1:], ids | new, more)


def with_ids(text: str, ids: dict[str, str]) -> str:
    """The page's text with the ids of this run."""
    for wanted, got in ids.items():
        text = text.replace(wanted, got)
    return text
