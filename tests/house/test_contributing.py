"""The walkthroughs of CONTRIBUTING.md, followed step by step in a copy of the tree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("backends", "examples", "frontend", "ir", "passes", "tests", "tilewright")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\S+/\S+\.(?:py|txt))\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, which a walkthrough may change."""
    folder = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("title", ["An op", "A pass", "A schedule rule"])
def test_walkthrough(tree: Path, title: str) -> None:
    written = [name for language, text in steps(title) if (name := follow(tree, language, text))]
    assert written
    run(tree, "ruff", "check", *written)
    run(tree, "ruff", "format", "--check", *written)


def steps(title: str) -> list[tuple[str, str]]:
    """The language and the text of each block of a section."""
    _, _, section = (ROOT / "CONTRIBUTING.md").read_text().partition(f"\n## {title}\n")
    return BLOCK.findall(section.partition("\n## ")[0])


def follow(tree: Path, language: str, text: str) -> str | None:
    """Do what a block says. Returns the path of the Python file that it writes or changes, if it does."""
    if language == "diff":
        return change(tree, text)
    if named := FILE.match(text):
        (tree / named[1]).write_text(text[named.end() :])
        return named[1] if language == "python" else None
    if language == "python":
        run(tree, "-c", text)
    else:
        assert language == "sh", f"what to do with a block of {language}?"
        for line in text.splitlines():
            command, *arguments = shlex.split(line)
            run(tree, Path(command).name, *arguments)
    return None


def change(tree: Path, diff: str) -> str:
    """Apply a diff whose parts each fit at one place. Returns the path of the file."""
    head, *parts = re.split(r"^@@\n", diff, flags=re.MULTILINE)
    path = tree / head.removeprefix("--- ").strip()
    source = path.read_text()
    for part in parts:
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert source.count(before) == 1, f"{path.name} does not have this once:\n{before}"
        source = source.replace(before, after)
    path.write_text(source)
    return str(path.relative_to(tree))


def run(tree: Path, command: str, *arguments: str) -> None:
    """Run a module, or with `-c` a program, with the copy in the place of what is installed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**inherited, "PYTHONPATH": str(tree), "TILEWRIGHT_CACHE": str(tree / ".cache")}
    words = [command, *arguments] if command == "-c" else ["-m", command, *arguments]
    done = subprocess.run(
        [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
