"""Reductions over fewer, longer axes give the same elements."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.backends.kernels.collapse_folded import collapse_folded
from tilewright.ir.graph import Graph
from tilewright.ir.interpret import run
from tilewright.ir.parse import parse

COLLAPSED = {
    "all": (
        """graph(x: float32[1, h, w, 4]) {
  %0 = reduce_max(x) {axes=(0, 1, 2, 3)}
  %1 = maximum(%0, c)
  return y=%1
}
""",
        "float32[4*h*w]",
    ),
    "some, with what comes before and after": (
        """graph(x: float32[3, 2, 5, 4], z: float32[3, 2, 5, 4], b: float32[2]) {
  %0 = mul(x, z)
  %1 = abs(%0)
  %2 = reduce_sum(%1) {axes=(2, 3)}
  %3 = add(%2, b)
  return y=%3
}
""",
        "float32[3, 2, 20]",
    ),
    "kept": (
        """graph(x: float32[3, 2, 5, 4]) {
  %0 = reduce_mean(x) {axes=(2, 3), keepdims=True}
  %1 = mul(%0, c)
  %2 = exp(%1)
  return y=%2
}
""",
        "float32[3, 2, 20]",
    ),
    "two runs": (
        """graph(x: float32[3, 2, 5, 4, 6]) {
  %0 = reduce_min(x) {axes=(0, 1, 3, 4)}
  return y=%0
}
""",
        "float32[6, 5, 24]",
    ),
}
LEFT = {
    "apart": """graph(x: float32[3, 2, 5]) {
  %0 = reduce_max(x) {axes=(0, 2)}
  return y=%0
}
""",
    "read again": """graph(x: float32[3, 4]) {
  %0 = reduce_max(x) {axes=(0, 1)}
  %1 = sub(x, %0)
  return y=%1
}
""",
    "broadcast": """graph(x: float32[3, 4], b: float32[4]) {
  %0 = add(x, b)
  %1 = reduce_max(%0) {axes=(0, 1)}
  return y=%1
}
""",
    "kept beside others": """graph(x: float32[3, 4, 5], b: float32[3, 1, 1]) {
  %0 = reduce_max(x) {axes=(1, 2), keepdims=True}
  %1 = add(%0, b)
  return y=%1
}
""",
}


def graph(text: str) -> Graph:
    constant = "  c = constant float32[] 0.5\n" if "c)" in text else ""
    head, _, rest = text.partition("{\n")
    return parse(f"{head}{{\n{constant}{rest}")


def collapsed(body: Graph) -> Graph:
    (fold,) = (n for n in body.nodes if n.op.name.startswith("reduce_"))
    return collapse_folded(body, fold)


@pytest.mark.parametrize("name", COLLAPSED)
def test_neighbours_become_one_axis(name: str) -> None:
    text, expected = COLLAPSED[name]
    body = graph(text)
    fewer = collapsed(body)
    assert str(fewer.inputs[0].type) == expected
    rng = np.random.default_rng(0)
    shapes = [[d if isinstance(d, int) else 3 for d in v.shape] for v in body.inputs]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    axes = [[d if isinstance(d, int) else -1 for d in v.shape] for v in fewer.inputs]
    (before,) = run(body, arrays)
    (after,) = run(fewer, [a.reshape(shape) for a, shape in zip(arrays, axes, strict=True)], {"h": 3, "w": 3})
    np.testing.assert_allclose(after.reshape(before.shape), before, rtol=1e-6)


@pytest.mark.parametrize("name", LEFT)
def test_others_stay(name: str) -> None:
    body = graph(LEFT[name])
    assert collapsed(body) is body
