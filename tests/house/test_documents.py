"""Every command, file and link that the documents name is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/benchmarks.md")


def commands() -> Iterator[str]:
    """Each line of each shell block, with continued lines joined and comments left out."""
    for name in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line.partition(" #")[0].strip() for line in lines if line.strip())


def options_of(command: str) -> str:
    """What `tilewright COMMAND --help` says."""
    from tilewright import cli

    subparsers = next(a for a in cli._parser()._actions if isinstance(a.choices, dict))
    assert isinstance(subparsers.choices, dict) and command in subparsers.choices
    return str(subparsers.choices[command].format_help())


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_exist(line: str) -> None:
    words = shlex.split(line)
    words[0] = Path(words[0]).name
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    elif words[0] == "tilewright":
        known = options_of(words[1])
        assert [word for word in words[2:] if word.startswith("-") and word not in known] == []
    elif words[:2] == ["python", "-m"] and words[2].startswith(("examples", "benchmarks")):
        assert find_spec(words[2]) is not None
    for word in words:
        if word.startswith(("tests/", "examples/", "benchmarks/", ".ci/")):
            assert (ROOT / word.partition("::")[0]).exists()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    targets = re.findall(r"\]\(([^)#]+)", document.read_text())
    assert [t for t in targets if "://" not in t and not (document.parent / t).exists()] == []
