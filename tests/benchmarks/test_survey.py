"""Processes that die cost a peer or a row, never the run; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import costs, survey
from benchmarks.cases import Case, cases
from benchmarks.contenders import OPENVINO, OURS
from benchmarks.process import DiedError
from benchmarks.result import Result
from benchmarks.rounds import QUICK, Plan
from examples.model_zoo import FetchError
from tests.benchmarks.results import result

CASE = Case("magika", {"batch": 1}, 2)


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "fetch", lambda name: {"model.onnx": Path(name)})


def dying(monkeypatch: pytest.MonkeyPatch, *runtimes: str) -> list[Mapping[str, str]]:
    """Measuring dies while one of the runtimes is tried; returns what was left out in each attempt."""
    attempts: list[Mapping[str, str]] = []

    def measured(case: Case, plan: Plan, without: Mapping[str, str]) -> Result:
        attempts.append(dict(without))
        for runtime in runtimes:
            if runtime not in without:
                raise DiedError("killed by SIGSEGV", f'{{"at": "{runtime}"}}\n')
        return result()

    monkeypatch.setattr(survey, "measured", measured)
    return attempts


def test_a_peer_that_crashes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = dying(monkeypatch, OPENVINO)
    assert survey.result_of(CASE, QUICK) == result()
    assert attempts == [{}, {OPENVINO: "killed by SIGSEGV"}]


@pytest.mark.parametrize("runtime", [OURS, ""])
def test_a_crash_of_ours_or_of_nobody_costs_the_row(monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    attempts = dying(monkeypatch, runtime)
    assert survey.result_of(CASE, QUICK) == Result(CASE, failure="killed by SIGSEGV")
    assert len(attempts) == 1


def test_models_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise FetchError("the index is out of reach")

    monkeypatch.setattr(survey, "fetch", fail)
    monkeypatch.setattr(costs, "fetch", fail)
    assert survey.result_of(CASE, QUICK).failure == "the index is out of reach"
    assert survey.costs_of("magika", 2, 1).failure == "the index is out of reach"


def test_a_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "result_of", lambda case, plan: Result(case, failure="no memory"))
    monkeypatch.setattr(survey, "costs_of", lambda name, threads, runs: costs.Costs(name, threads, failure="no disk"))
    monkeypatch.setattr(survey, "bare_mebibytes", lambda: 26.0)
    begun: list[str] = []
    done: list[str] = []
    chosen = cases(["magika"], [1, 2], first_size_only=True)
    found = survey.survey(chosen, True, begun.append, done.append)
    assert len(begun) == len(done) == survey.steps(chosen) == 3
    assert done[0] == "magika, batch 1, 1 thread: no memory"
    assert found.machine["processor"] and found.versions["onnxruntime"]
    assert [r.case.threads for r in found.results] == [1, 2]
