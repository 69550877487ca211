"""Which convolutions are made by minimal filtering, with their paddings, biases and what follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled, drawn
from tilewright.ir import Graph, Value, apply, constant, input_value, tensor

PLAIN: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


def weight(*shape: int) -> Value:
    return constant(np.random.default_rng(1).standard_normal(shape), "float32")


def conv(x: Value, *parameters: Value, **attrs: Any) -> Value:
    return apply("conv", x, *parameters, channels_last=True, **{**PLAIN, **attrs})


def origins(graph: Graph, *sizes: Mapping[str, int]) -> list[str]:
    """Compare at each of the sizes, and tell which rules made the kernels."""
    model = compiled(graph)
    for numbers in sizes:
        assert_same(graph, model, drawn(graph, numbers))
    return [row.origin for row in model.report(drawn(graph, sizes[0]), repeats=1).rows]


@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        (("n", "h", "w", 20), (1, 1, 1, 1)),
        ((2, 13, 14, 16), (1, 1, 1, 1)),
        (("n", 10, "w", 24), (0, 0, 0, 0)),
        ((1, "h", 17, 48), (2, 0, 3, 1)),
        ((9, 5, 6, 16), (0, 3, 1, 0)),
    ],
)
def test_result_is_the_reference(shape: Sequence[Any], pads: tuple[int, ...]) -> None:
    x = input_value("x", tensor("float32", *shape))
    y = conv(x, weight(40, shape[-1], 3, 3), weight(40), pads=pads)
    assert origins(Graph((x,), (y,), ("y",)), {"n": 2, "h": 9, "w": 7}, {"n": 3, "h": 30, "w": 33}) == ["winograd"]


def test_operators_that_follow_are_fused() -> None:
    x, residual = (input_value(name, tensor("float32", "n", "h", "w", 24)) for name in ("x", "residual"))
    y = apply("maximum", apply("add", conv(x, weight(24, 24, 3, 3), weight(24)), residual), constant(0, "float32"))
    graph = Graph((x, residual), (y,), ("y",))
    assert origins(graph, {"n": 1, "h": 12, "w": 15}, {"n": 2, "h": 25, "w": 9}) == ["winograd"]


@pytest.mark.parametrize(
    ("shape", "kernel", "attrs"),
    [
        ((1, 20, 20, 7), (16, 7, 3, 3), {}),
        ((1, 20, 20, 16), (7, 16, 3, 3), {}),
        ((1, 20, 20, 16), (16, 16, 3, 3), {"strides": (1, 2)}),
        ((1, 20, 20, 16), (16, 16, 3, 3), {"dilations": (2, 1)}),
        ((1, 20, 20, 32), (32, 16, 3, 3), {"groups": 2}),
        ((1, 20, 20, 16), (16, 16, 3, 1), {}),
        ((1, 7, 7, 16), (16, 16, 3, 3), {}),
        (("n", 7, 7, 16), (16, 16, 3, 3), {}),
        (("n", 2, "w", 16), (16, 16, 3, 3), {}),
    ],
    ids=["channels", "results", "strides", "dilations", "groups", "kernel", "small", "small each", "low"],
)
def test_others_are_left_to_other_rules(
    shape: Sequence[Any], kernel: tuple[int, ...], attrs: Mapping[str, Any]
) -> None:
    x = input_value("x", tensor("float32", *shape))
    graph = Graph((x,), (conv(x, weight(*kernel), **attrs),), ("y",))
    assert "winograd" not in origins(graph, {"n": 2, "w": 9})


def test_computed_weights_are_left_to_other_rules() -> None:
    x, w = input_value("x", tensor("float32", 1, 20, 20, 16)), input_value("w", tensor("float32", 16, 16, 3, 3))
    assert "winograd" not in origins(Graph((x, w), (conv(x, w),), ("y",)), {})
