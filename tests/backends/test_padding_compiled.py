"""Padding by its own rule: constants on any axes, and what repeats the array along one, with operators around it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.backends.compiling import assert_same, compiled, drawn, given, named
from tilewright.ir import apply, constant, dims

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


@pytest.mark.parametrize("moved", ["transposed", "along two axes"])
def test_what_the_rule_leaves_to_others(moved: str) -> None:
    (x,) = given(x=("n", 40))
    if moved == "transposed":
        result = apply("transpose", apply("pad", x, before=(1, 2), after=(0, 3)), perm=(1, 0))
    else:
        result = apply("pad", x, before=(0, 2), after=(1, 3), mode="edge")
    graph = named([result], [x])
    model = compiled(graph)
    assert "pad" not in [row.origin for row in model.report(profile=False).rows]
    assert_same(graph, model, drawn(graph, {"n": 3}))
