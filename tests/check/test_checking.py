"""Checking a function against its original: which inputs are tried, and what is made of the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tilewright.backends.signature import TensorInfo
from tilewright.checking import compare, tolerance_for
from tilewright.ir.agreement import CheckReport
from tilewright.ir.errors import InputError
from tilewright.ir.interpret import run as interpret
from tilewright.ir.op import Array
from tilewright.ir.parse import parse

GRAPH = parse("graph(x: float32[n, 4]) { %0 = exp(x)  %1 = neg(x)  return y=%0, z=%1 }")
PORTS = (TensorInfo("x", "float32", ("n", 4)),)
Feed = Mapping[str, Array]


def original(feed: Feed) -> Sequence[Array]:
    return interpret(GRAPH, feed)


def check(compiled: Any = original, reference: Any = original, **options: Any) -> CheckReport:
    return compare(compiled, reference, GRAPH, PORTS, **options)


def test_the_same_function() -> None:
    report = check()
    assert report.passed
    assert (report.runs, report.tolerance) == (3, 1e-4)
    assert [o.name for o in report.outputs] == ["y", "z"]


def test_each_output_is_reported_at_its_worst() -> None:
    def wrong_for_two(feed: Feed) -> Sequence[Array]:
        y, z = original(feed)
        return y, (z + np.float32(0.5) if len(z) == 2 else z)

    report = check(wrong_for_two)
    assert not report.passed
    assert [o.name for o in report.failures] == ["z"]
    assert report.failures[0].inputs == "x [2, 4]"


def test_sizes_that_the_original_refuses_are_passed_over() -> None:
    seen = []

    def picky(feed: Feed) -> Sequence[Array]:
        if len(feed["x"]) != 3:
            raise InputError("only three rows, please")
        seen.append(feed["x"].shape)
        return original(feed)

    assert check(reference=picky).runs == len(seen) == 1


def test_sizes_that_the_model_computes_with_are_tried_as_well() -> None:
    """An original may take one number of rows only, that of its positions."""
    text = "graph(x: float32[b, n, 4], p: float32[50, 4]) { %0 = exp(p)  %1 = add(x, %0)  return y=%1 }"
    graph = parse(text)
    ports = (TensorInfo("x", "float32", ("b", "n", 4)), TensorInfo("p", "float32", (50, 4)))
    seen = []

    def picky(feed: Feed) -> Sequence[Array]:
        if feed["x"].shape[1] != 50:
            raise InputError("only fifty rows, please")
        seen.append(feed["x"].shape)
        return [np.exp(feed["x"])]

    assert compare(picky, picky, graph, ports).passed
    assert set(seen) == {(1, 50, 4)}


def test_sizes_that_do_not_fit_come_last() -> None:
    """An original may crash on them: those that the model computes with come first."""
    graph = parse("graph(x: float32[b, n, 4], p: float32[50, 4]) { %0 = exp(p)  %1 = add(x, %0)  return y=%1 }")
    ports = (TensorInfo("x", "float32", ("b", "n", 4)), TensorInfo("p", "float32", (50, 4)))
    seen = []

    def original(feed: Feed) -> Sequence[Array]:
        seen.append(feed["x"].shape[1])
        return [np.exp(feed["x"])]

    assert compare(original, original, graph, ports, fits=lambda feed: feed["x"].shape[1] == 50).passed
    assert set(seen) == {50}


def test_an_original_that_refuses_known_sizes_is_asked_once_a_draw() -> None:
    graph = parse("graph(x: float32[3, 4]) { %0 = exp(x)  return y=%0 }")
    calls = []

    def refuse(feed: Feed) -> Sequence[Array]:
        calls.append(feed)
        raise InputError("not today")

    with pytest.raises(InputError, match="not today"):
        compare(refuse, refuse, graph, (TensorInfo("x", "float32", (3, 4)),))
    assert len(calls) == 3


def test_an_original_that_takes_nothing() -> None:
    def refuse(feed: Feed) -> Sequence[Array]:
        raise InputError("not today")

    with pytest.raises(InputError, match=r"takes none of the inputs .* not today"):
        check(reference=refuse)


def test_refusing_what_the_original_takes_is_a_difference() -> None:
    def refuse(feed: Feed) -> Sequence[Array]:
        raise InputError("not today")

    report = check(refuse)
    assert len(report.failures) == 2
    assert "refuses inputs that the original takes: not today" in str(report)


def test_given_inputs() -> None:
    feeds = [{"x": np.zeros((n, 4), np.float32)} for n in (1, 2)]
    assert check(inputs=feeds).runs == 2
    assert check(inputs=feeds[0]).outputs[0].inputs == "x [1, 4]"
    for wrong in ([], [np.zeros(3)], feeds[0]["x"]):
        with pytest.raises(InputError, match="at least one such mapping"):
            check(inputs=wrong)
    with pytest.raises(InputError, match="float64 was given"):
        check(inputs={"x": np.zeros((1, 4))})


@pytest.mark.parametrize("tolerance", [0.011, -1e-9, float("nan"), float("inf")])
def test_tolerances_that_prove_nothing(tolerance: float) -> None:
    with pytest.raises(InputError, match="proves nothing"):
        check(tolerance=tolerance)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("%0 = exp(x)", 1e-4),
        ("%0 = quantize(x, scale, zero) {axis=None, block=0}", 1e-3),
        (
            "%1 = quantize(w, scale, zero) {axis=None, block=0}  %0 = dequantize(%1, scale, zero) {axis=None, block=0}",
            1e-4,
        ),
        ('%1 = cast(x) {to="float16"}  %0 = exp(%1)', 2e-3),
        ('%1 = cast(x) {to="bfloat16"}  %0 = exp(%1)', 1e-2),
        ('%1 = cast(w) {to="float16"}  %2 = cast(%1) {to="float32"}  %0 = add(%2, x)', 1e-4),
    ],
)
def test_the_tolerance_suits_what_the_model_computes_with(body: str, expected: float) -> None:
    text = "w = constant float32[4] zeros  scale = constant float32[] 0.5  zero = constant uint8[] 3"
    graph = parse(f"graph(x: float32[4]) {{ {text}  {body}  return %0 }}")
    assert tolerance_for(graph) == expected


@pytest.mark.parametrize(("batch", "expected"), [("1", 1e-3), ("b", 1e-2)])
def test_sequences_may_share_a_scale_where_there_are_several(batch: str, expected: float) -> None:
    graph = parse(f"""graph(x: float32[t, {batch}, 8], scale: float32[], zero: uint8[]) {{
        r = constant int8[1, 8, 2] zeros  h = constant float32[1, 1, 2] zeros  l = constant int32[1] 9
        s = constant float32[1, 8] zeros
        %0 = quantize(x, scale, zero) {{axis=None, block=0}}
        %1 = dequantize(%0, scale, zero) {{axis=None, block=0}}
        %2, %3, %4 = quantized_lstm(%1, r, h, h, l, s, s)
            {{activations=("sigmoid", "tanh", "tanh"), alpha=(0.0, 0.0, 0.0), beta=(0.0, 0.0, 0.0)}}
        return %2
    }}""")
    assert tolerance_for(graph) == expected
