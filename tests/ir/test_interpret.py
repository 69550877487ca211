"""The interpreter: sizes from inputs, errors that name the clash, and regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilewright.ir import Array, Attrs, Graph, input_value, tensor
from tilewright.ir.errors import InputError, VerifyError
from tilewright.ir.graph import make_node
from tilewright.ir.interpret import run
from tilewright.ir.ops import TABLE
from tilewright.ir.parse import parse

TWO = parse("""graph(x: float32[n, 2], y: float32[n, 2*n]) {
  a = reduce_sum(y) {axes=(1,), keepdims=True}
  b = add(x, a)
  s = sizes() {dims=(n, 1 + 2*n)}
  return b=b, s=s
}""")


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, dtype=np.float32)


def test_inputs_by_name_or_in_order() -> None:
    x, y = _zeros(3, 2), np.ones((3, 6), dtype=np.float32)
    for result in (run(TWO, [x, y]), run(TWO, {"y": y, "x": x})):
        np.testing.assert_array_equal(result[0], np.full((3, 2), 6))
        assert result[1].tolist() == [3, 7]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([_zeros(3, 2)], r"the graph takes 2 inputs \(x, y\), not 1"),
        ({"x": _zeros(3, 2)}, "the inputs are x, y, not x"),
        ([_zeros(3, 2), _zeros(4, 8)], "axis 0 of the input y must be 3 .*not 4"),
        ([_zeros(3, 2), _zeros(3, 5)], r"axis 1 of the input y must be 6 \(2\*n"),
        ([_zeros(3, 5), _zeros(3, 6)], "axis 1 of the input x must be 2, not 5"),
        ([_zeros(3), _zeros(3, 6)], "an array of 1 axes was given"),
        ([np.zeros((3, 2)), _zeros(3, 6)], r"the input x is float32\[n, 2\], but an array of float64 was given"),
    ],
)
def test_arrays_that_do_not_fit(inputs: list[Array] | dict[str, Array], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(TWO, inputs)


def test_sizes_that_no_input_shows_are_given() -> None:
    graph = parse('graph() { r = range() {start=0, step=2, size=n, dtype="int64"}\n return r }')
    assert run(graph, (), {"n": 3})[0].tolist() == [0, 2, 4]
    with pytest.raises(InputError, match="nothing says how much n is"):
        run(graph, ())


def test_a_composite_size_needs_its_symbols() -> None:
    graph = parse("graph(x: float32[2*n]) { return x }")
    with pytest.raises(InputError, match=r"axis 0 of the input x is 2\*n, and nothing says how much n is"):
        run(graph, [_zeros(4)])


def test_bodies_share_the_sizes_around_them() -> None:
    graph = parse(
        """graph(x: float32[n]) {
      f = fused(x) {body=graph(a: float32[n]) {
        s = sizes() {dims=(n,)}
        b = neg(a)
        return b, s
      }}
      return f
    }""".replace("f = fused", "f, g = fused").replace("return f\n", "return f, g\n")
    )
    negated, size = run(graph, [np.ones(3, dtype=np.float32)])
    assert negated.tolist() == [-1, -1, -1] and size.tolist() == [3]


def _lying(attrs: Attrs, x: Array) -> Array:
    return x[:1].astype(np.float64)


def test_a_reference_that_disagrees_with_its_types_is_found_out() -> None:
    x = input_value("x", tensor("float32", 3))
    node = make_node(replace(TABLE["neg"], ref=_lying), (x,), {}, source="layer 7")
    with pytest.raises(VerifyError, match=r"gives float64\[1\], but float32\[3\] was inferred.*layer 7"):
        run(Graph((x,), node.results), [_zeros(3)])


def test_empty_graph() -> None:
    assert run(Graph((), ()), ()) == ()


def test_sizes_of_zero() -> None:
    graph = parse("graph(x: float32[n, 3]) {\n a = reduce_max(x) {axes=(0,)}\n b = softmax(x) {axis=0}\n return a, b }")
    greatest, soft = run(graph, [_zeros(0, 3)])
    assert np.isneginf(greatest).all() and soft.shape == (0, 3)
