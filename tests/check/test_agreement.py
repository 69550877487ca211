"""Comparing outputs: what passes, what does not, and which element is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tilewright.ir.agreement import CheckReport, OutputCheck, compare_output, worst
from tilewright.ir.op import Array

TOLERANCE = 1e-4


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def off(got: Array, want: Array) -> OutputCheck:
    return compare_output("y", got, want, "x [1]")


def test_the_error_is_relative_to_the_largest_magnitude() -> None:
    found = off(np.array([[1, 2], [3, -400.02]]), np.array([[1, 2.01], [3, -400.0]]))
    assert found.index == (1, 1)
    assert found.error == pytest.approx(0.02 / 400)
    assert (found.compiled, found.original) == (-400.02, -400.0)
    assert found.passes(TOLERANCE)
    assert str(found) == (
        "output 'y': error 5.00e-05 of its scale, worst at [1, 1]: -400.02 instead of -400 (inputs x [1])"
    )


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (f32(1, math.nan), f32(1, 2)),
        (f32(1, 2), f32(1, math.nan)),
        (f32(1, math.nan), f32(1, math.nan)),
        (f32(math.nan), f32(math.inf)),
        (f32(math.inf), f32(-math.inf)),
        (f32(1, math.inf), f32(1, 2)),
        (f32(1, 2), f32(1, math.inf)),
        (f32(1), f32(0)),
        (f32(1e-30), f32(0)),
        (f32(1e-20), f32(2e-20)),
        (np.float32(1), np.float64(1)),
        (f32(1, 2), f32(1)),
        (f32(1), np.float32(1)),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([2**62 + 1]), np.array([2**62])),
        (np.array([255, 0], np.uint8), np.array([255, 1], np.uint8)),
        (np.array([True]), np.array([False])),
        (np.array(["a"], object), np.array(["b"], object)),
    ],
)
def test_what_differs(got: Any, want: Any) -> None:
    found = off(np.asarray(got), np.asarray(want))
    assert not found.passes(1e-2)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["name"] == "y"


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (f32(1, math.inf), f32(1, math.inf)),
        (f32(1 + 5e-5, 0), f32(1, 5e-5)),
        (f32(0), f32(1e-40)),  # too small to have digits
        (f32(1e-35), f32(0)),  # an exponential that some libraries cut off
        (f32(), f32()),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.float32(2), np.float32(2)),
        (np.array([2**62 + 1]), np.array([2**62 + 1])),
        (np.array([True]), np.array([True])),
        (np.array(["a"], object), np.array(["a"], object)),
    ],
)
def test_what_agrees(got: Any, want: Any) -> None:
    assert off(np.asarray(got), np.asarray(want)).passes(TOLERANCE)


def test_a_nan_is_named() -> None:
    found = off(f32(1, math.nan, 9), f32(1, 2, 3))
    assert found.index == (1,)
    assert "the compiled output holds NaN" in str(found)


def test_integers_that_differ_are_counted() -> None:
    found = off(np.array([[1, 2], [3, 4]]), np.array([[1, 5], [2, 4]]))
    assert "differs at 2 of 4 elements" in str(found)
    assert found.index == (0, 1)


def test_scalars_and_empty_outputs_have_no_place_to_name() -> None:
    assert "worst: 1 instead of 2" in str(off(np.float32(1), np.float32(2)))
    assert str(off(f32(), f32())) == "output 'y': error 0.00e+00 of its scale (inputs x [1])"


def test_the_worst_of_several() -> None:
    small, large = off(f32(1.001), f32(1)), off(f32(1.1), f32(1))
    nan, shape = off(f32(math.nan), f32(1)), off(f32(1, 2), f32(1))
    assert worst([small, large, small]) is large
    assert worst([large, nan, small]) is nan
    assert worst([shape, large]) is shape


def test_a_report() -> None:
    good, bad = off(f32(1), f32(1)), off(f32(math.nan), f32(1))
    assert CheckReport((good,), TOLERANCE, 1, 1).passed
    assert not CheckReport((), TOLERANCE, 0, 0).passed
    report = CheckReport((good, bad), TOLERANCE, 2, 1)
    assert not report.passed
    assert report.failures == (bad,)
    assert report.error == math.inf
    assert "DIFFERS from the original on 2 inputs (tolerance 0.0001)" in str(report)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["outputs"][1]["compiled"] == "nan"


def test_a_spread_excuses_an_error_where_the_two_are_alike_on_another_input() -> None:
    moved = replace(off(f32(1.02), f32(1)), spread=0.015)
    assert CheckReport((moved,), TOLERANCE, 2, alike=1).passed
    assert "on 1 of them at least half within the tolerance" in str(CheckReport((moved,), TOLERANCE, 2, alike=1))
    alone = CheckReport((moved,), TOLERANCE, 2, alike=0)
    assert (alone.passed, alone.undetermined, alone.failures) == (False, True, (moved,))
    further = CheckReport((replace(moved, spread=0.005),), TOLERANCE, 2, alike=1)
    assert (further.passed, further.undetermined) == (False, False)


def test_the_worst_fails_even_where_a_larger_error_is_excused() -> None:
    excused, failing = replace(off(f32(1.5), f32(1)), spread=0.4), off(f32(1.1), f32(1))
    assert worst([excused, failing], TOLERANCE) is failing
