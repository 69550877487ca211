"""The matcher: what fits, what is refused, and that the work grows as graphs do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.growth import grows_linearly
from tilewright.ir.errors import PassError
from tilewright.ir.graph import Graph, Node, Value, apply, constant, input_value
from tilewright.ir.parse import parse
from tilewright.ir.show import show
from tilewright.ir.types import tensor
from tilewright.passes.fold_scales import fold_scales
from tilewright.passes.patterns import Match
from tilewright.passes.rewrite import Decline, Replacement, Rule, rewrite, rule
from tilewright.passes.simplify import simplify


@rule(lambda p, x, y, c: p.mul(p.add(x, y).named("total"), p.constant(c)))
def distribute(match: Match, x: Value, y: Value, c: Value, total: Value) -> Replacement:
    if total.dtype != "float32":
        return Decline("only floats are distributed here")
    return match.apply("add", match.apply("mul", x, c), match.apply("mul", y, c))


def test_variables_constants_and_names_are_bound_and_factors_may_stand_either_way() -> None:
    text = """graph(x: float32[3], y: float32[3]) {
      c = constant float32[] 2.0
      %0 = add(x, y)
      %1 = mul(c, %0)
      return z=%1
    }"""
    graph = parse(text)
    assert [node.op.name for node in rewrite(graph, [distribute]).nodes] == ["mul", "mul", "add"]


@pytest.mark.parametrize("outputs", ["z=%1, a=%0", "z=%1, a=%2"])
def test_a_match_whose_inside_is_read_elsewhere_is_refused(outputs: str) -> None:
    text = f"""graph(x: float32[3], y: float32[3]) {{
      c = constant float32[] 2.0
      %0 = add(x, y) %1 = mul(c, %0) %2 = neg(%0)
      return {outputs}
    }}"""
    heard: list[str] = []
    graph = parse(text)
    assert rewrite(graph, [distribute], lambda r, n, reason: heard.append(f"{r.name}: {reason}")) is graph
    assert set(heard) == {"distribute: the result of add is read outside of the match"}


def test_a_rule_declines_with_a_reason() -> None:
    graph = parse("graph(x: int32[3]) { c = constant int32[] 2 %0 = add(x, x) %1 = mul(c, %0) return z=%1 }")
    heard: list[tuple[Rule, Node, str]] = []
    assert rewrite(graph, [distribute], lambda *what: heard.append(what)) is graph
    assert heard[0] == (distribute, graph.nodes[1], "only floats are distributed here")


def test_one_variable_is_one_value() -> None:
    @rule(lambda p, x: p.sub(x, p.neg(x)))
    def doubled(match: Match, x: Value) -> Replacement:
        return match.apply("add", x, x)

    both = "graph(x: float32[3], y: float32[3]) { %0 = neg(x) %1 = sub(x, %0) %2 = sub(y, %0) return a=%1, b=%2 }"
    names = [node.op.name for node in rewrite(parse(both), [doubled]).nodes]
    assert sorted(names) == ["neg", "sub", "sub"]  # the negation is read by the other difference, too
    assert "add" in show(rewrite(parse(both.replace(", b=%2", "")), [doubled]))


def test_numbers_are_exact_if_whole_and_near_if_not() -> None:
    @rule(lambda p, x: p.either(p.add(x, 1), p.mul(x, 0.3)))
    def gone(match: Match, x: Value) -> Replacement:
        return x

    def rest(value: float, op: str) -> int:
        x = input_value("x", tensor("float64", 3))
        return len(rewrite(Graph((x,), (apply(op, x, constant(value, "float64")),)), [gone]).nodes)

    assert [rest(1, "add"), rest(1 + 1e-9, "add"), rest(0.3 + 1e-9, "mul"), rest(0.30001, "mul")] == [0, 1, 0, 1]


def test_a_replacement_of_another_type_declines() -> None:
    @rule(lambda p, x: p.neg(p.expand(x)))
    def gone(match: Match, x: Value) -> Replacement:
        return x

    graph = parse("graph(x: float32[1]) { %0 = expand(x) {shape=(3,)} %1 = neg(%0) return y=%1 }")
    heard: list[str] = []
    assert rewrite(graph, [gone], lambda r, n, reason: heard.append(reason)) is graph
    assert heard == ["the replacement is float32[1], not float32[3]"]


def test_rules_that_never_rest_are_an_error() -> None:
    @rule(lambda p, x, y: p.add(x, y))
    def turn(match: Match, x: Value, y: Value) -> Replacement:
        return match.apply("add", y, x)

    with pytest.raises(PassError, match="turn"):
        rewrite(parse("graph(x: float32[1], y: float32[1]) { %0 = add(x, y) return z=%0 }"), [turn])


def chain(length: int) -> Graph:
    """Five nodes a link, of which one goes."""
    x = value = input_value("x", tensor("float32", "n", 4, 6))
    half = constant(np.float32(0.5))
    for _ in range(length):
        value = apply("transpose", value, perm=(0, 2, 1))
        value = apply("mul", value, half)
        value = apply("reshape", value, shape=(value.shape[0], 24))
        value = apply("reshape", value, shape=(value.shape[0], 4, 6))
        value = apply("tanh", value)
    return Graph((x,), (value,))


def test_the_work_grows_with_the_nodes() -> None:
    def work(length: int) -> Callable[[], Graph]:
        graph = chain(length)
        return lambda: fold_scales(simplify(graph))

    assert len(work(60)().nodes) == 4 * 60
    assert grows_linearly(work, 60)
