"""What follows from the numbers of a row."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.cases import Case
from benchmarks.contenders import OPENVINO, PATIENT, ROUNDING
from benchmarks.result import Result, geometric_mean, measured, thread_counts
from benchmarks.rounds import Spread
from benchmarks.survey import running_at_death
from tests.benchmarks.results import result, survey


def test_the_fastest_peer() -> None:
    found = result(2.0)
    assert (found.peer, found.onnxruntime, found.ratio.middle) == (PATIENT, PATIENT, 2.0)
    assert found.over_floor == pytest.approx(4.0)
    assert found.over_roofline == pytest.approx(2.0)


def with_rounding(error: float | None) -> Result:
    """Another is twice as fast as we are, and so far off."""
    found = result(2.0)
    return replace(
        found,
        medians={**found.medians, ROUNDING: 5e-4},
        ratios={**found.ratios, ROUNDING: Spread(0.5, 0.5, 0.5)},
        errors={**found.errors, ROUNDING: error},
    )


@pytest.mark.parametrize("error", [2e-4, None])
def test_a_peer_that_computes_something_else_is_not_the_fastest(error: float | None) -> None:
    assert with_rounding(error).peer == PATIENT
    assert with_rounding(error).ratio.middle == 2.0
    assert with_rounding(1e-4).peer == ROUNDING


def test_there_and_back_through_json() -> None:
    for found in (result(), Result(Case("m", {}, 1), failure="no memory")):
        assert Result.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_means_and_selections() -> None:
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    results = survey().results
    assert thread_counts(results) == [1, 2]
    assert [r.ratio.middle for r in measured(results, 2)] == [0.5, 4.0]


def test_who_was_running_when_the_process_died() -> None:
    lines = ['{"at": "Tilewright"}', "something else", '{"at": "OpenVINO"}', "a complaint"]
    assert running_at_death("\n".join(lines)) == OPENVINO
    assert running_at_death('{"at": "OpenVINO"}\n{"at": ""}') == ""
    assert running_at_death("") == ""
