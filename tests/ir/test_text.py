"""Text and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import grows_linearly
from tests.strategies import graphs
from tilewright.ir import Array, Graph, apply, constant, input_value, tensor
from tilewright.ir.errors import CompilerError, ParseError, TypeInferenceError, UnsupportedError
from tilewright.ir.interpret import run
from tilewright.ir.parse import parse
from tilewright.ir.show import show, tabulate
from tilewright.ir.types import DTYPES, TensorType, boxed, numpy_dtype
from tilewright.ir.verify import verify

EXAMPLE = """graph(x: float32[batch, 3], "ids:0": int64[batch]) {
  scale = constant float32[] 0.1
  %0 = mul(x, scale)
  %1 = fused(%0) {body=graph(a: float32[batch, 3]) {
    %0 = softmax(a) {axis=1}
    return %0
  }}
  %2, %3 = top_k(%1) {k=2, axis=1}
  %4 = range() {start=0, step=1, size=1 + 2*batch, dtype="int64"}
  return y=%2, %3, "ids:0", %4
}
"""


def test_example_is_kept_as_it_is() -> None:
    assert show(parse(EXAMPLE)) == EXAMPLE


def test_types_are_shown_and_checked() -> None:
    typed = show(parse(EXAMPLE), types=True)
    assert "%2, %3 = top_k(%1) {k=2, axis=1} : float32[batch, 2], int64[batch, 2]" in typed
    assert show(parse(typed)) == EXAMPLE
    with pytest.raises(ParseError, match=r"line 3: the types are float32\[batch, 3\], not float32\[batch, 4\]"):
        parse(typed.replace("scale) : float32[batch, 3]", "scale) : float32[batch, 4]"))


@given(graphs())
def test_random_graphs_round_trip(case: tuple[Graph, tuple[Array, ...]]) -> None:
    graph, arrays = case
    text, data = tabulate(graph)
    again = parse(text, data)
    verify(again)
    assert tabulate(again)[0] == text
    assert again.output_names == graph.output_names
    for ours, theirs in zip(run(graph, arrays), run(again, arrays), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(st.text(), st.text())
def test_names_are_kept(given_name: str, output: str) -> None:
    x = input_value(given_name or "x", tensor("float32", 2))
    again = parse(show(Graph((x,), (x, apply("neg", x)), (f"a{output}", f"b{output}"))))
    assert again.inputs[0].name == x.name
    assert again.output_names == (f"a{output}", f"b{output}")


@given(st.floats() | st.text() | st.integers() | st.booleans() | st.none() | st.tuples(st.floats(), st.integers()))
def test_attribute_values_are_kept(value: object) -> None:
    x = input_value("x", tensor("float32", 2))
    graph = Graph((x,), (apply("pad", x, before=(0,), after=(1,), value=value),))
    kept = parse(show(graph)).nodes[0].attrs["value"]
    assert repr(kept) == repr(value)


def test_objects_come_from_a_table() -> None:
    graph = Graph((), (constant(boxed([1, None]), name="c"),))
    text, data = tabulate(graph)
    assert parse(text, data).outputs[0].type == TensorType("object", ())


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "object"])
def test_small_constants_are_kept(dtype: str) -> None:
    items = {"string": ["a", 'b"\n', ""], "bool": [True, False, True]}.get(dtype, [0, 1, 100])
    if dtype.startswith(("float", "bfloat")):
        items = [0.1, -0.0, math.inf, -math.inf, math.nan, 1e-6, 65504.0]
    data = np.array(items, dtype=numpy_dtype(dtype))
    graph = Graph((), (constant(data, name="c"), constant(data[0], dtype=dtype, name="d")))
    vector, scalar = run(parse(*tabulate(graph)), ())
    assert [repr(item) for item in vector] == [repr(item) for item in data]
    assert repr(scalar[()]) == repr(data[0])
    assert vector.dtype == scalar.dtype == data.dtype


def test_large_constants_come_from_a_table() -> None:
    weights = np.arange(100, dtype=np.float32)
    text, data = tabulate(Graph((), (constant(weights, name="w"),)))
    assert "w = constant float32[100] #0" in text
    assert parse(text, data).outputs[0].data is weights
    with pytest.raises(ParseError, match="line 2: the data of constant #0 was not given"):
        parse(text)


def test_data_by_rule() -> None:
    graph = parse("""graph() {
      a = constant float32[2, 3] random(7)
      b = constant int8[2, 2] ones
      c = constant int64[3] arange
      return a, b, c
    }""")
    a, b, c = run(graph, ())
    assert a.shape == (2, 3) and np.abs(a).max() > 0
    assert b.tolist() == [[1, 1], [1, 1]] and c.tolist() == [0, 1, 2]


def test_clashing_names_of_constants_are_told_apart() -> None:
    x = input_value("c", tensor("float32"))
    one, two = constant(1.0, "float32", name="c"), constant(2.0, "float32")
    graph = parse(show(Graph((x,), (apply("add", apply("add", x, one), two),))))
    assert graph.inputs[0].name == "c"
    assert float(run(graph, [np.float32(3)])[0]) == 6


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("graph(", ParseError, "line 1: a name is expected instead of the end"),
        ("graph(x: float32[2]) {\n return y }", ParseError, "line 2: y is not defined"),
        ("graph(x: float32[2]) {\n\n %0 = neg(x) ! }", ParseError, "line 3: '!' has no meaning here"),
        ("graph(x: floaty[2]) { return x }", ParseError, "line 1: floaty is not an element type"),
        ("graph(x: float32[2]) { x = neg(x)\n return x }", ParseError, "x is defined twice"),
        ("graph() { c = constant int64[3] [1, 2]\n return c }", ParseError, "line 1: 3 elements are needed"),
        ("graph() { c = constant int64[2] [1, x]\n return c }", ParseError, "x is not an element of a constant"),
        ("graph(x: float32[2 +]) { return x }", ParseError, "is not a size"),
        ("graph() { return } x", ParseError, "x follows the end of the graph"),
        ("graph(x: float32[2]) {\n %0 = negate(x)\n return %0 }", UnsupportedError, "there is no operator negate"),
        ("graph(x: float32[2]) {\n %0 = neg(x, x)\n return %0 }", TypeInferenceError, "In the model: line 2"),
        ("graph(x: float32[2]) {\n %0, %1 = neg(x)\n return %0 }", ParseError, "neg has 1 results"),
    ],
)
def test_errors_name_the_line(text: str, error: type[CompilerError], message: str) -> None:
    with pytest.raises(error) as caught:
        parse(text)
    assert message in str(caught.value)


def chain(length: int) -> Graph:
    value = x = input_value("x", tensor("float32", "n", 4))
    for _ in range(length):
        value = apply("softmax", apply("add", value, x), axis=1)
    return Graph((x,), (value,))


def showing(length: int) -> Callable[[], object]:
    return partial(show, chain(length))


def parsing(length: int) -> Callable[[], object]:
    return partial(parse, show(chain(length)))


@pytest.mark.parametrize("work", [showing, parsing])
def test_the_work_grows_with_the_nodes(work: Callable[[int], Callable[[], object]]) -> None:
    assert grows_linearly(work, 100)
