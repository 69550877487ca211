"""A slice of ONNX's test cases: for each operator one, and a few whole models. `make test-onnx` runs them all."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest

from tests.onnx_suite.cases import Case, load_cases
from tests.onnx_suite.exceptions import excepted, read_exceptions
from tests.onnx_suite.workers import run_all

PARTS = 6
_EVERY = 12


@functools.cache
def quick() -> tuple[Case, ...]:
    """Of each operator the case with the least to compute and of the other kinds some, as far as they have to pass."""
    exceptions = read_exceptions()
    cases = [case for case in load_cases() if not excepted(case, exceptions)]
    smallest: dict[str, Case] = {}
    for case in cases:
        if case.kind == "node" and not case.expanded:
            known = smallest.setdefault(case.operator, case)
            smallest[case.operator] = min(known, case, key=lambda c: (len(c.content), c.name))
    return *smallest.values(), *[case for case in cases if case.kind not in ("node", "real")][::_EVERY]


@pytest.mark.parametrize("part", range(PARTS))
def test_cases_pass(part: int) -> None:
    failures = [record for record in run_all(quick()[part::PARTS], processes=1) if not record.passed]
    assert [f"{record.name} {record.outcome}: {record.reason}" for record in failures] == []


def test_exceptions_name_cases_that_exist() -> None:
    cases = load_cases()
    assert [pattern for pattern in read_exceptions() if not any(excepted(case, [pattern]) for case in cases)] == []


def test_cases_have_names_of_their_own() -> None:
    names: Sequence[tuple[str, str]] = [(case.kind, case.name) for case in load_cases()]
    assert len(set(names)) == len(names) > 2000
