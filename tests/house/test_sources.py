"""Rules for the sources that no linter knows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("backends", "benchmarks", "docs", "examples", "frontend", "ir", "passes", "tests", "tilewright")
FORBIDDEN = re.compile(
    r"""\b(TODO|FIXME|XXX|HACK)\b       # work left undone
      | ["'`\s(](/root|/home|/tmp)/     # a folder of somebody's machine
      | \bbreakpoint\(\)""",
    re.VERBOSE,
)
LONGEST_FILE = 500


def texts() -> dict[str, str]:
    files = {p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".md", ".json", ".ir"}}
    files |= set(ROOT.glob("*.md")) | {ROOT / "Makefile", ROOT / "pyproject.toml"}
    return {str(p.relative_to(ROOT)): p.read_text() for p in sorted(files) if p != Path(__file__)}


def test_nothing_is_left_over() -> None:
    assert {name: found[0] for name, text in texts().items() if (found := FORBIDDEN.search(text))} == {}


def test_files_hold_one_idea_each() -> None:
    lengths = {name: len(text.splitlines()) for name, text in texts().items() if name.endswith(".py")}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_module_has_the_name_of_a_library() -> None:
    assert [name for name in texts() if Path(name).stem in {"onnx", "torch", "tvm", "numpy"}] == []
