"""Fixtures of passes.

A file `fixtures/<pass>.txt` holds cases: `== title`, a graph, `-->`, and what the pass makes of it. `--> unchanged`
says that it must leave the graph as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "fixtures"
_CASE = re.compile(
    r"^== (?P<title>.+)\n(?P<before>(?:.*\n)+?)-->(?P<after>(?: unchanged\n|\n(?:(?!== ).*\n?)*))", re.MULTILINE
)


@dataclass(frozen=True)
class Case:
    """One case of a fixture file. An empty `after` stands for unchanged."""

    file: Path
    title: str
    before: str
    after: str

    @property
    def changes(self) -> bool:
        return bool(self.after)

    def write(self, after: str) -> None:
        """Replace what is expected in the file."""
        head = f"== {self.title}\n{self.before}\n-->\n"
        text = self.file.read_text()
        start = text.index(head) + len(head)
        end = text.find("\n== ", start - 1)
        rest = text[end:] if end >= 0 else ""
        self.file.write_text(f"{text[:start]}{after}\n{rest}")


def read(file: Path) -> list[Case]:
    """The cases of a file, in order. Raises ValueError for text that belongs to none."""
    text = file.read_text()
    cases = [Case(file, m["title"], m["before"].strip(), _expected(m["after"])) for m in _CASE.finditer(text)]
    if len(cases) != text.count("\n== ") + text.startswith("== "):
        raise ValueError(f"{file} holds a case that has no arrow")
    return cases


def _expected(text: str) -> str:
    """What a pass has to make; a question mark where that has not been written yet."""
    return "" if text.strip() == "unchanged" else text.strip() or "?"


def all_cases() -> list[Case]:
    return [case for file in sorted(FOLDER.glob("*.txt")) for case in read(file)]
