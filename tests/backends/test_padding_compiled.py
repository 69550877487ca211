"""Padding by its own rule: constants on any axes, and what repeats the array along one, with operators around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled, drawn, given, named
from tilewright.ir import Graph, apply, constant, dims, input_value, tensor

PADDED: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "an image": (("n", 3, 9, "w"), {"before": (0, 0, 1, 1), "after": (0, 0, 1, 2), "value": -1.5}),
    "a long line": ((1, "w"), {"before": (0, 130), "after": (0, 120), "mode": "reflect"}),
    "a line in a column": (("n", "w", 1), {"before": (0, 129, 0), "after": (0, 5, 0), "mode": "edge"}),
    "rows only": (("n", "w", 33), {"before": (0, 2, 0), "after": (1, 0, 0)}),
    "by sizes known at run time": (("n", "w"), {"before": (0, dims.symbol("n")), "after": (dims.symbol("n"), 0)}),
    "around from the other end": ((4, "w"), {"before": (0, 1), "after": (0, 20), "mode": "wrap"}),
    "one number": ((1, 1), {"before": (0, 0), "after": (0, 0)}),
}
SIZES = [{"n": 1, "w": 250}, {"n": 2, "w": 9000}, {"n": 3, "w": 1}, {"n": 40, "w": 33}]


@pytest.mark.parametrize("name", PADDED)
def test_padding_between_operators(name: str) -> None:
    shape, attrs = PADDED[name]
    (x,) = given(x=shape)
    padded = apply("pad", apply("exp", x), **attrs)
    result = apply("mul", padded, apply("add", padded, constant(3.0, "float32")))
    graph = named([result], [x])
    model = compiled(graph)
    assert [row.origin for row in model.report(profile=False).rows][-1] == "pad"
    for sizes in SIZES:
        assert_same(graph, model, drawn(graph, sizes))


def checked(graph: Graph, sizes: dict[str, int], *, by_rule: bool = True) -> None:
    model = compiled(graph)
    assert ("pad" in [row.origin for row in model.report(profile=False).rows]) == by_rule
    assert_same(graph, model, drawn(graph, sizes))


@pytest.mark.parametrize("shape", [(5, 0), ("n", 0), (1, 0)])
def test_nothing_that_is_padded_to_one_element(shape: tuple[Any, ...]) -> None:
    (x,) = given(x=shape)
    checked(named([apply("pad", x, before=(0, 0), after=(0, 1), value=7)], [x]), {"n": 3}, by_rule=False)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_division_by_what_is_padded_with_zero(dtype: str) -> None:
    y, x = input_value("y", tensor(dtype, "n", 40)), input_value("x", tensor(dtype, "n", 37))
    ones = apply("add", apply("mul", x, x), constant(1, dtype))
    padded = apply("pad", ones, before=(0, 1), after=(0, 2))
    graph = named([apply("div", y, padded)], [y, x])
    with np.errstate(all="ignore"):
        checked(graph, {"n": 3}, by_rule=dtype != "bfloat16")


def test_nan_as_padding_stays_nan() -> None:
    y, x = given(y=("n", 40), x=("n", 37))
    padded = apply("pad", x, before=(0, 1), after=(0, 2), value=float("nan"))
    checked(named([apply("maximum", padded, y)], [y, x]), {"n": 3})


@pytest.mark.parametrize("width", [1, 7, 15, 16, 40])
def test_rows_that_are_short_when_it_runs(width: int) -> None:
    (x,) = given(x=("n", "w"))
    checked(named([apply("pad", x, before=(1, 2), after=(0, 1), value=3)], [x]), {"n": 30, "w": width})


@pytest.mark.parametrize("moved", ["transposed", "along two axes"])
def test_what_the_rule_leaves_to_others(moved: str) -> None:
    (x,) = given(x=("n", 40))
    if moved == "transposed":
        result = apply("transpose", apply("pad", x, before=(1, 2), after=(0, 3)), perm=(1, 0))
    else:
        result = apply("pad", x, before=(0, 2), after=(1, 3), mode="edge")
    checked(named([result], [x]), {"n": 3}, by_rule=False)
