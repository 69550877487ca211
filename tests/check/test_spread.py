"""Models whose own results are not determined to the tolerance, as those that round activations to 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.backends.signature import TensorInfo
from tilewright.checking import compare
from tilewright.frontend import read
from tilewright.ir.agreement import CheckReport
from tilewright.ir.errors import CheckError, InputError
from tilewright.ir.op import Array
from tilewright.ir.parse import parse
from tilewright.spread import MOST_NUDGED

ROUNDING = "%1 = quantize(x, s, z) {axis=0}  %2 = dequantize(%1, s, z) {axis=0}"
GRAPH = parse(f"graph(x: float32[n, 4], s: float32[n], z: int8[n]) {{ {ROUNDING}  return y=%2 }}")
PORTS = (TensorInfo("x", "float32", ("n", 4)),)
Feed = Mapping[str, Array]
Run = Callable[[Feed], Sequence[Array]]


def off(by: float, rows: Sequence[int] = range(10)) -> Run:
    """The function, off by so much of its scale on inputs of so many rows."""
    return lambda feed: [-feed["x"] + (len(feed["x"]) in rows) * np.float32(by) * np.abs(feed["x"]).max()]


def check(compiled: Run, nudged: Callable[[int], Run | None], **options: Any) -> CheckReport:
    return compare(compiled, off(0), GRAPH, PORTS, nudged=nudged, **options)


def test_what_the_original_itself_does_not_determine_is_excused() -> None:
    report = check(off(0.02, rows=[2]), lambda seed: off(0.015, rows=[2]))
    assert report.passed
    assert (report.runs, report.alike) == (3, 2)
    assert "moves by 1.50e-02 when its weights change in their last bits" in str(report)


def test_what_is_further_off_is_not() -> None:
    asked = []

    def nudged(seed: int) -> Run:
        asked.append(seed)
        return off(0.005, rows=[2])

    report = check(off(0.02, rows=[2]), nudged)
    assert not report.passed
    assert asked == list(range(MOST_NUDGED))


def test_nobody_asks_how_far_the_results_move_where_they_agree_or_have_another_shape() -> None:
    def nudged(seed: int) -> Run:
        raise AssertionError

    assert check(off(1e-6), nudged).passed
    assert not check(lambda feed: [-feed["x"][:1]], nudged).passed


@pytest.mark.parametrize(("share", "passes"), [(0.2, True), (0.6, False)])
def test_results_that_differ_by_steps_at_some_elements_are_alike(share: float, passes: bool) -> None:
    """As where a model rounds what it returns: no input is without such an element."""

    def at_some(feed: Feed) -> Sequence[Array]:
        [result] = off(0)(feed)
        moved = np.arange(result.size).reshape(result.shape) < share * result.size
        return [result + moved * np.float32(0.02) * np.abs(result).max()]

    report = check(at_some, lambda seed: off(0.015))
    assert report.passed == passes
    assert report.undetermined != passes


def test_zeros_prove_nothing() -> None:
    """Most elements are equal, since both are 0."""

    def thin(by: float) -> Run:
        return lambda feed: [np.pad(result, ((0, 0), (0, 12))) for result in off(by)(feed)]

    report = compare(thin(0.02), thin(0), GRAPH, PORTS, nudged=lambda seed: thin(0.015))
    assert report.undetermined


def test_a_model_that_is_never_alike_fails() -> None:
    report = check(off(0.02), lambda seed: off(0.02))
    assert report.undetermined
    assert report.runs == 15


def test_only_models_that_round_are_excused_and_only_without_a_tolerance() -> None:
    def nudged(seed: int) -> Run:
        return off(0.015, rows=[2])

    assert not check(off(0.02, rows=[2]), nudged, tolerance=1e-3).passed
    plain = parse("graph(x: float32[n, 4]) { %0 = neg(x)  return y=%0 }")
    assert not compare(off(0.02, rows=[2]), off(0), plain, PORTS, nudged=nudged).passed


def test_infinity_excuses_nothing() -> None:
    def endless(feed: Feed) -> Sequence[Array]:
        return [np.where(feed["x"] > 0, -np.inf, -feed["x"]).astype(np.float32)]

    def other(feed: Feed) -> Sequence[Array]:
        return [-feed["x"] if len(feed["x"]) == 2 else endless(feed)[0]]

    report = compare(other, endless, GRAPH, PORTS, nudged=lambda seed: other)
    assert not report.passed
    assert {check.spread for check in report.outputs} == {0.0}


def test_a_nudge_that_the_original_does_not_take_says_nothing() -> None:
    def refuse(feed: Feed) -> Sequence[Array]:
        raise InputError("not with these weights")

    assert not check(off(0.02, rows=[2]), lambda seed: refuse).passed


def with_weights(text: str, **weights: Array) -> ModelProto:
    proto = model(text)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return proto


def test_nudged_weights_differ_in_their_last_bits_and_integers_stay() -> None:
    weights = np.array([0.3, -1.7, 2, 0], np.float32)
    proto = with_weights("(float[n, 4] x) => (float[n, 4] y) { y = Mul(x, w) }", w=weights)
    for seed, units in ((0, 1), (3, 2), (7, 8)):
        other = read(proto).original.nudged(seed)
        assert other is not None
        (found,) = other({"x": np.ones((1, 4), np.float32)})
        moved = np.abs(found[0].view(np.int32) - weights.view(np.int32))
        np.testing.assert_array_equal(moved, [units, units, 0, 0])


def test_constants_are_nudged_too_within_subgraphs_as_well() -> None:
    text = """(float[n] x, bool c) => (float[n] y) {
        w = Constant <value = float[1] {0.3}> ()
        y = If (c) <then_branch = a () => (float[n] t) { t = Mul(x, w) },
                    else_branch = b () => (float[n] e) { v = Constant <value = float[1] {0.7}> ()  e = Mul(x, v) }>
    }"""
    original = read(model(text)).original
    other = original.nudged(0)
    assert other is not None
    for condition in (True, False):
        feed = {"x": np.ones(2, np.float32), "c": np.array(condition)}
        assert 0 < np.abs(other(feed)[0] - original(feed)[0]).max() < 1e-6


def test_what_sizes_come_from_is_not_nudged() -> None:
    text = """(float[n, 1, 4, 4] x) => (float[n, 1, h, w] y) {
        s = Constant <value = float[4] {1.0, 1.0, 2.5, 2.5}> ()  r = Constant <value = float[0] {}> ()
        y = Resize <mode = "nearest"> (x, r, s)
    }"""
    assert read(model(text)).original.nudged(0) is None


def test_a_model_made_of_last_bits_cannot_be_checked() -> None:
    """Where a long sum lies between two steps, each as wide as its error."""
    weights = np.random.default_rng(0).standard_normal((640, 8)).astype(np.float32)
    text = """(float[n, 640] x) => (float[n, 8] y) {
        p = MatMul(x, w)  f = Div(p, s)  g = Floor(f)  r = Sub(f, g)
        q = QuantizeLinear(r, t, z)  y = DequantizeLinear(q, t, z)
    }"""
    scales = {"s": np.array(1e-5, np.float32), "t": np.array(0.01, np.float32), "z": np.array(0, np.uint8)}
    with pytest.raises(CheckError, match=r"cannot be checked: on none of the inputs .* original moves by"):
        tw.compile(with_weights(text, w=weights, **scales))
