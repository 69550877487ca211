"""What the records of a run add up to, and whether that is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.onnx_suite.exceptions import excepted, no_longer
from tests.onnx_suite.record import Record

LEAST_PASSED = 1870
"""Of the 1,884 node cases of onnx 1.23."""

LEAST_COMPILED = 1590
"""Of those node cases that are plain numeric (`plain.py` tells which), about 1,613."""


@dataclass(frozen=True)
class Totals:
    """Counts of node cases; `plain` are those that may not run on the host, `compiled` how many of these do not."""

    cases: int
    passed: int
    on_the_host: int
    plain: int
    compiled: int

    @classmethod
    def of(cls, records: Sequence[Record]) -> Totals:
        nodes = [record for record in records if record.kind == "node"]
        plain = [record for record in nodes if not record.not_plain]
        return cls(
            len(nodes),
            sum(record.passed for record in nodes),
            sum(record.passed and not record.compiled for record in nodes),
            len(plain),
            sum(record.compiled for record in plain),
        )

    def __str__(self) -> str:
        return (
            f"{self.passed} of {self.cases} node cases pass, {self.on_the_host} of them with something on the host; "
            f"of {self.plain} plain numeric ones {self.compiled} run fully compiled."
        )


def unexpected(records: Sequence[Record], exceptions: Mapping[str, str]) -> list[Record]:
    """Failures that no exception allows."""
    return [record for record in records if not record.passed and not excepted(record, exceptions)]


def on_the_host_against_the_rules(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.passed and record.host and not record.not_plain]


def faults(records: Sequence[Record], exceptions: Mapping[str, str], *, whole: bool) -> list[str]:
    """Why a run has failed: one line each. Counts and exceptions can only be judged when `whole`."""
    found = [f"{r.kind}/{r.name} {r.outcome}: {r.reason}" for r in unexpected(records, exceptions)]
    if whole:
        totals = Totals.of(records)
        if totals.passed < LEAST_PASSED:
            found.append(f"{totals.passed} node cases pass; {LEAST_PASSED} have to")
        if totals.compiled < LEAST_COMPILED:
            found.append(f"{totals.compiled} plain numeric cases run compiled; {LEAST_COMPILED} have to")
        found += [
            f"nothing fails for the exception '{pattern}'; remove it" for pattern in no_longer(records, exceptions)
        ]
    return found


def reasons(records: Sequence[Record]) -> list[tuple[str, int]]:
    """Why cases failed, with how many did for each reason, the most frequent first."""
    return Counter(record.reason for record in records if not record.passed).most_common()


def to_json(records: Sequence[Record]) -> dict[str, Any]:
    return {"totals": asdict(Totals.of(records)), "cases": [asdict(record) for record in records]}
