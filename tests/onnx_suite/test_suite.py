"""The suite sees what it has to see: wrong outputs, crashes, hangs, stale exceptions, too few cases."""

from __future__ import annotations

import ctypes
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.onnx_suite import exceptions, verdict
from tests.onnx_suite.cases import Case, load_cases
from tests.onnx_suite.chance import assert_dropped, assert_mean
from tests.onnx_suite.compare import assert_same
from tests.onnx_suite.plain import why_not_plain
from tests.onnx_suite.record import Record, run
from tests.onnx_suite.workers import run_all

ONES = np.ones(4, np.float32)
GOOD = Record("test_a", "node", "A", 1, "passed")
BAD = Record("test_b", "node", "B", 1, "failed", reason="no")


def case(name: str) -> Case:
    return next(c for c in load_cases() if c.name == name)


class Trap:
    """Goes off when another process than this one unpacks it; here it is the content of a case."""

    def __init__(self, action: Callable[..., object], *arguments: Any, content: bytes) -> None:
        self._parts = (os.getpid(), action, arguments, content)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return spring, self._parts


def spring(pid: int, action: Callable[..., object], arguments: tuple[Any, ...], content: bytes) -> object:
    if os.getpid() != pid:
        action(*arguments)
    return pickle.loads(content)


def test_a_crash_or_a_hang_costs_one_case() -> None:
    fine = case("test_abs")
    crash = replace(fine, name="crash", content=pickle.dumps(Trap(ctypes.string_at, 0, content=fine.content)))
    end = replace(fine, name="end", content=pickle.dumps(Trap(os._exit, 3, content=fine.content)))
    hang = replace(fine, name="hang", content=pickle.dumps(Trap(time.sleep, 600, content=fine.content)))
    records = {r.name: r for r in run_all([crash, end, fine], processes=1)}
    assert {name: r.outcome for name, r in records.items()} == {
        "crash": "crashed",
        "end": "crashed",
        "test_abs": "passed",
    }
    assert "SIGSEGV" in records["crash"].reason and "(3)" in records["end"].reason
    (record,) = run_all([hang], processes=1, limit=3)
    assert (record.outcome, record.reason) == ("hung", "it took longer than 3 seconds")


def test_wrong_outputs_fail() -> None:
    fine = case("test_abs")
    model, ((given, (wanted,)),) = pickle.loads(fine.content)
    wrong = replace(fine, content=pickle.dumps((model, [(given, [wanted + 0.01])])))
    assert run(fine).outcome == "passed"
    record = run(wrong)
    assert record.outcome == "failed" and record.reason.startswith("wrong: Not equal to tolerance")


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (ONES, ONES + 0.01),
        (ONES, np.ones((1, 4), np.float32)),
        (ONES, ONES.astype(np.float64)),
        (ONES, None),
        (None, ONES),
        ([ONES], [ONES, ONES]),
        (ONES, [ONES]),
        (ONES * np.nan, ONES),
        (np.array(["a"], object), np.array(["b"], object)),
        (ONES, np.array(["1"] * 4, object)),
        ({1: 2}, {1: 3}),
        (ONES.astype(ml_dtypes.bfloat16), (ONES * 1.1).astype(ml_dtypes.bfloat16)),
        (ONES.astype(ml_dtypes.int4), (ONES * 2).astype(ml_dtypes.int4)),
    ],
)
def test_differences_are_seen(got: Any, wanted: Any) -> None:
    assert_same(wanted, wanted, 1e-3, 1e-7, "it")
    with pytest.raises(AssertionError):
        assert_same(got, wanted, 1e-3, 1e-7, "it")


def test_unlikely_outputs_are_seen() -> None:
    generator = np.random.default_rng(0)
    chance, x = np.full(1000, 0.3), generator.random(1000)
    assert_mean(generator.random(1000) < chance, chance)
    with pytest.raises(AssertionError, match="are expected"):
        assert_mean(np.ones(1000), chance)
    kept = generator.random(1000) > 0.2
    assert_dropped(x, 0.2, [np.where(kept, x / 0.8, 0), kept])
    with pytest.raises(AssertionError):
        assert_dropped(x, 0.2, [np.where(kept, x, 0), kept])
    with pytest.raises(AssertionError, match="mask"):
        assert_dropped(x, 0.2, [np.where(kept, x / 0.8, 0), ~kept])


def test_plain_cases_are_told_apart() -> None:
    reasons = {c.name: why_not_plain(c) for c in load_cases() if c.kind == "node"}
    assert len(reasons) == 1884
    assert 1620 <= sum(not reason for reason in reasons.values()) <= 1640
    plain = (
        "test_abs",
        "test_cast_FLOAT_to_BFLOAT16",
        "test_if",
        "test_lstm_defaults",
    )
    assert [name for name in plain if reasons[name]] == []
    others = (
        "test_unique_not_sorted_without_axis",
        "test_bernoulli_expanded",
        "test_adam",
        "test_cast_FLOAT_to_INT4",
        "test_if_seq",
    )
    assert [name for name in others if not reasons[name]] == []


def test_exceptions_allow_failures_and_have_to_be_needed(tmp_path: Path) -> None:
    path = tmp_path / "exceptions.txt"
    path.write_text("# which may fail\nnode/*_b  for good reason\nA  for none\n")
    allowed = exceptions.read_exceptions(path)
    assert allowed == {"node/*_b": "for good reason", "A": "for none"}
    assert verdict.unexpected([GOOD, BAD], allowed) == []
    assert verdict.unexpected([GOOD, BAD], {}) == [BAD]
    assert exceptions.no_longer([GOOD, BAD], allowed) == ["A"]
    exceptions.remove(["A"], path)
    assert path.read_text() == "# which may fail\nnode/*_b  for good reason\n"
    path.write_text("node/*_b\n")
    with pytest.raises(AssertionError, match="no reason"):
        exceptions.read_exceptions(path)


def test_too_few_cases_are_a_fault() -> None:
    enough = [GOOD] * verdict.LEAST_PASSED
    assert verdict.faults(enough, {}, whole=True) == []
    assert len(verdict.faults(enough[1:], {}, whole=True)) == 1
    assert verdict.faults(enough[1:], {}, whole=False) == []
    on_host = [replace(GOOD, host=("A",))] * (verdict.LEAST_PASSED - verdict.LEAST_COMPILED + 1)
    assert len(verdict.faults([*enough[len(on_host) :], *on_host], {}, whole=True)) == 1
    assert verdict.faults([BAD], {}, whole=False) == ["node/test_b failed: no"]
