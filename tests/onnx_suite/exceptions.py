"""The cases that may fail, each with its reason, in exceptions.txt. An exception that is no longer one is an error too.

A line is a pattern and a reason, with two spaces between them. The pattern is an operator (`LSTM`) for all of its node
cases, or kind/name (`node/test_lstm_*`), in which * and ? stand for any characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tests.onnx_suite.cases import Case
from tests.onnx_suite.record import Record

FILE = Path(__file__).with_name("exceptions.txt")


def read_exceptions(path: Path = FILE) -> dict[str, str]:
    """The reason for each pattern."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    exceptions = {}
    for line in lines:
        pattern, _, reason = line.partition("  ")
        assert reason.strip(), f"no reason is given in: {line}"
        exceptions[pattern] = reason.strip()
    return exceptions


def excepted(item: Case | Record, exceptions: Iterable[str]) -> bool:
    return any(_matches(item, pattern) for pattern in exceptions)


def no_longer(records: Sequence[Record], exceptions: Mapping[str, str]) -> list[str]:
    """The patterns for which nothing fails any more."""
    failed = [record for record in records if not record.passed]
    return [pattern for pattern in exceptions if not any(_matches(record, pattern) for record in failed)]


def remove(patterns: Sequence[str], path: Path = FILE) -> None:
    """Take the lines of `patterns` out of the file."""
    kept = [line for line in path.read_text().splitlines() if line.partition("  ")[0] not in patterns]
    path.write_text("\n".join(kept) + "\n")


def _matches(item: Case | Record, pattern: str) -> bool:
    if "/" in pattern:
        return fnmatchcase(f"{item.kind}/{item.name}", pattern)
    return item.kind == "node" and item.operator == pattern
