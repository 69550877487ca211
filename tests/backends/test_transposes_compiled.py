"""Transposes that change the innermost axis, of sizes that fill their blocks and of others, with operators around."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled, drawn
from tilewright.ir.parse import parse

IMAGES = [(2, 1, 3, 5), (1, 3, 40, 21), (2, 8, 4, 2), (1, 17, 33, 9), (1, 64, 30, 32), (3, 70, 1, 3)]


@pytest.mark.parametrize("dtype", ["float32", "int32", "float64", "int64"])
@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 1, 2), (3, 1, 2, 0), (2, 3, 1, 0)])
def test_sizes_known_at_run_time(dtype: str, perm: tuple[int, ...]) -> None:
    graph = parse(f"graph(x: {dtype}[n, c, h, w]) {{ %0 = transpose(x) {{perm={perm}}} return y=%0 }}")
    model = compiled(graph)
    for shape in IMAGES:
        assert_same(graph, model, drawn(graph, dict(zip("nchw", shape, strict=True))))
    assert [row.origin for row in model.report().rows] == ["transpose"]


@pytest.mark.parametrize("shape", IMAGES)
def test_sizes_known_when_compiling(shape: tuple[int, ...]) -> None:
    sizes = ", ".join(map(str, shape))
    graph = parse(f"graph(x: float32[{sizes}]) {{ %0 = transpose(x) {{perm=(0, 2, 3, 1)}} return y=%0 }}")
    assert_same(graph, compiled(graph), drawn(graph, {}))


def test_operators_around() -> None:
    graph = parse("""graph(x: float32[n, 20, h, w], s: float32[20], y: float32[n, h, w, 20]) {
      two = constant float32[] 2.0
      %0 = mul(x, two)
      %1 = transpose(%0) {perm=(0, 2, 3, 1)}
      %2 = mul(%1, s)
      %3 = add(%2, y)
      return z=%3
    }""")
    model = compiled(graph)
    for h in (1, 3, 30):
        assert_same(graph, model, drawn(graph, {"n": 2, "h": h, "w": 5}))
    assert [row.origin for row in model.report().rows] == ["transpose"]


TWICE, NOT_MOVED = "%0 = transpose(x) {perm=(1, 0)} %1 = add(x, %0)", "%0 = transpose(x) {perm=(0, 1)} %1 = neg(%0)"


@pytest.mark.parametrize("text", [TWICE, NOT_MOVED])
def test_others(text: str) -> None:
    """A value that is read at two places, and one that does not move."""
    graph = parse(f"graph(x: float32[n, n]) {{ {text} return y=%1 }}")
    model = compiled(graph)
    for n in (1, 30):
        assert_same(graph, model, drawn(graph, {"n": n}))


def test_narrow_elements() -> None:
    graph = parse("graph(x: bool[n, m]) { %0 = transpose(x) {perm=(1, 0)} return y=%0 }")
    model = compiled(graph)
    arrays = {"x": np.random.default_rng(0).integers(0, 2, (37, 20)).astype(bool)}
    assert_same(graph, model, arrays)
    assert [row.origin for row in model.report().rows] == ["pointwise"]
