"""docs/operators.md: what is supported, written from the results of the cases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx

from tests.onnx_suite.cases import KINDS
from tests.onnx_suite.record import Record
from tests.onnx_suite.versions import tabled, versions_read

FILE = Path(__file__).parents[2] / "docs" / "operators.md"
_ROW = re.compile(r"^\| (\S+) +\| ([\d, ]*?) *\| (.*?) *\| (.*?) *\|$", flags=re.MULTILINE)
_HEADING = re.compile(r"^## (\S+)$", flags=re.MULTILINE)
_DOMAINS = {"": "ai.onnx"}
_HEAD = """# Operators

What models may hold. `make test-onnx UPDATE=1` writes this page from the results of the test cases that come with onnx
{onnx}, by their own tolerances; a test fails when it is out of date.

- **versions**: those that differ, by the opset that began them. A model's opset may be any from the first on.
- **runs**: as *compiled* kernels or on the *host*. Where both are named, the numbers are of cases; the host takes
  strings, sequences, 8-bit floats, 4-bit integers and `Unique`.
- **cases**: how many pass, of how many there are: the operator by itself and, where ONNX defines it as a function, that
  function. Operators without any are tested beside onnxruntime by the tests of our own.

| cases | passed | compiled | host |
|-------|--------|----------|------|
{totals}
"""


def render(records: Sequence[Record]) -> str:
    """The whole page."""
    rows = {operator: _cells(operator, records_of) for operator, records_of in _by_operator(records).items()}
    head = _HEAD.format(onnx=onnx.__version__, totals="\n".join(_totals(records)))
    tables = [f"## {_DOMAINS.get(domain, domain)}\n\n{_table(rows, domain)}\n" for domain in _domains(rows)]
    return "\n".join([head, *tables])


def _by_operator(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The node cases of every operator that has a row in the frontend or passes some case."""
    found: dict[str, list[Record]] = {name: [] for name in tabled()}
    for record in records:
        if record.operator:
            found.setdefault(record.operator, []).append(record)
    return {name: of for name, of in found.items() if name in tabled() or any(record.passed for record in of)}


def _cells(operator: str, records: Sequence[Record]) -> tuple[str, str, str, str]:
    versions = ", ".join(map(str, versions_read(operator)))
    passed = sum(record.passed for record in records)
    cases = f"{passed} of {len(records)}" if records else ""
    return operator.rpartition(".")[2], versions, _where(records), cases


def _where(records: Sequence[Record]) -> str:
    compiled = sum(record.compiled for record in records)
    host = sum(record.passed for record in records) - compiled
    if compiled and host:
        return f"{compiled} compiled, {host} host"
    return "compiled" if compiled else "host" if host else ""


def _domains(rows: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in rows})


def _table(rows: Mapping[str, tuple[str, ...]], domain: str) -> str:
    lines = [("operator", "versions", "runs", "cases")]
    lines += sorted(cells for name, cells in rows.items() if name.rpartition(".")[0] == domain)
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    rule = cells[0].startswith("--")
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"|-{'-|-'.join(padded)}-|" if rule else f"| {' | '.join(padded)} |"


def _totals(records: Sequence[Record]) -> Iterator[str]:
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        where = ("compiled" if record.compiled else "host") if record.passed else "failed"
        counts[record.kind, where] += 1
    for kind in KINDS:
        compiled, host, failed = (counts[kind, where] for where in ("compiled", "host", "failed"))
        yield f"| {kind} | {compiled + host} of {compiled + host + failed} | {compiled} | {host} |"


def read_versions(text: str) -> dict[str, tuple[int, ...]]:
    """The versions that a page gives for each operator, with its domain before the name."""
    found = {}
    parts = _HEADING.split(text)[1:]
    for domain, part in zip(parts[::2], parts[1::2], strict=True):
        for name, versions, _, _ in _ROW.findall(part):
            if name != "operator" and not name.startswith("-"):
                full = name if domain == "ai.onnx" else f"{domain}.{name}"
                found[full] = tuple(int(v) for v in versions.split(",") if v.strip())
    return found


def outdated(text: str) -> list[str]:
    """What the page says otherwise than the frontend's tables, without running anything."""
    written = read_versions(text)
    missing = [f"{name} is missing" for name in sorted(tabled() - set(written))]
    return missing + [
        f"{name} has the versions {versions_read(name)}, not {versions}"
        for name, versions in sorted(written.items())
        if versions != versions_read(name)
    ]
