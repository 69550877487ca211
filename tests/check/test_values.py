"""Outputs that are no tensors, and outputs that are random: what the check makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.ir.agreement import compare_value
from tilewright.ir.errors import InputError

A, B = np.array([1.0, 2.0], np.float32), np.array([[3.0]], np.float32)


@pytest.mark.parametrize("value", [[A, B], [], None, {"a": A}, A])
def test_values_agree_with_themselves(value: Any) -> None:
    assert compare_value("y", value, value).passes(0)


@pytest.mark.parametrize(
    ("got", "want"), [([A], [A, B]), ([A, B], [B, A]), ([A, B], [A, B + 1]), (None, [A]), ([A], None), ({}, {"a": A})]
)
def test_values_that_differ(got: Any, want: Any) -> None:
    assert not compare_value("y", got, want).passes(1e-4)


def test_random_outputs_are_compared_by_kind() -> None:
    report = tw.compile(model("(float[n, 3] x) => (float[] y) { y = RandomNormalLike(x) }")).check_report
    assert report is not None
    assert report.passed
    assert "random" in str(report)


def test_sequences_go_in_and_out() -> None:
    text = "(float[n] x, float[m] z) => (seq(float[k]) y) { y = SequenceConstruct(x, z) }"
    compiled = tw.compile(model(text))
    assert compiled.check_report is not None
    assert compiled.check_report.passed
    found = compiled.run({"x": A, "z": A})["y"]
    assert [part.tolist() for part in found] == [A.tolist(), A.tolist()]


def test_an_input_that_cannot_be_drawn() -> None:
    text = "(seq(float[k]) s) => (int64 y) { y = SequenceLength(s) }"
    with pytest.raises(InputError, match="no tensor"):
        tw.compile(model(text))
    assert tw.compile(model(text), inputs={"s": [A, A]}).run({"s": [A, B]})["y"] == 2
