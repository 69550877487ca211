"""Squeeze without axes, where sizes are not known: how many axes its result has depends on them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.errors import InputError
from tilewright.ir.op import Array


def squeezed(result: str) -> ModelProto:
    return model(f"(float[batch, 1, 4] x) => (float[{result}] y) {{ s = Squeeze(x)  y = Relu(s) }}", 11)


def rows(count: int) -> dict[str, Array]:
    return {"x": np.arange(-2, 4 * count - 2, dtype=np.float32).reshape(count, 1, 4)}


def test_unknown_sizes_are_taken_to_be_other_than_1() -> None:
    compiled = tw.compile(squeezed("batch, 4"), strict=True)
    assert compiled.check_report is not None and compiled.check_report.passed
    assert compiled(**rows(3)).shape == (3, 4)
    with pytest.raises(InputError, match=r"drops axes of size 1.* other sizes batch; .*shapes=\{'batch': 1\}"):
        compiled(**rows(1))


def test_a_model_that_says_how_many_axes_its_result_has_means_a_batch_of_1() -> None:
    proto = squeezed("four")
    compiled = tw.compile(proto, strict=True)
    np.testing.assert_array_equal(compiled(**rows(1)), read(proto).original(rows(1))[0])
    assert compiled(**rows(1)).shape == (4,)
    with pytest.raises(InputError, match=r"cannot be reshaped to \[4\], for batch = 2"):
        compiled(**rows(2))


def test_a_fixed_batch_of_1_needs_no_choice() -> None:
    (result,) = read(squeezed("batch, 4"), shapes={"batch": 1}).graph.outputs
    assert result.shape == (4,)


def test_a_model_that_says_what_cannot_be_is_read_as_it_stands() -> None:
    (result,) = read(squeezed("a, b, c, d")).graph.outputs
    assert result.rank == 2


def test_sizes_that_cannot_be_1() -> None:
    text = "(float[n, 1, 4] x) => (float[m, 4] y) { d = Concat <axis = 0> (x, x)  y = Squeeze(d) }"
    graph = read(model(text, 11)).graph
    assert "expect" not in {node.op.name for node in graph.nodes}


def two(first: str, second: str) -> ModelProto:
    text = f"""(float[batch, 1, 4] x, float[n, 1, 4] z) => (float[{first}] y, float[{second}] w) {{
        a = Squeeze(x)  y = Relu(a)  b = Squeeze(z)  w = Relu(b)
    }}"""
    return model(text, 11)


@pytest.mark.parametrize(
    ("first", "second", "shapes"),
    [("four", "n, 4", [(4,), (3, 4)]), ("batch, 4", "four", [(3, 4), (4,)]), ("four", "four", [(4,), (4,)])],
)
def test_only_what_has_to_be_1_is(first: str, second: str, shapes: list[tuple[int, ...]]) -> None:
    compiled = tw.compile(two(first, second), strict=True, check=False)  # batches that are drawn are as large for both
    counts = [1 if len(shape) == 1 else 3 for shape in shapes]
    results = compiled.run({"x": rows(counts[0])["x"], "z": rows(counts[1])["x"]})
    assert [result.shape for result in results.values()] == shapes


def test_nothing_at_all_is_not_dropped() -> None:
    text = "(float[k] x) => (int64[m] y) { n = NonZero(x)  s = Squeeze(n)  y = Add(s, s) }"
    compiled = tw.compile(model(text, 11))
    assert compiled(np.zeros(5, np.float32)).shape == (0,)
    assert compiled(np.array([0, 1, 1], np.float32)).tolist() == [2, 4]
    with pytest.raises(InputError, match="drops axes of size 1"):
        compiled(np.array([0, 1, 0], np.float32))


def test_a_size_that_is_fixed_to_1_need_not_be_among_the_axes_that_the_model_tells_of() -> None:
    graph = read(two("batch, 4", "n, 4"), shapes={"batch": 1}).graph
    assert [value.rank for value in graph.outputs] == [1, 2]
    assert "expect" in {node.op.name for node in graph.nodes}


def test_what_a_model_was_not_compiled_for_is_counted_and_where_nothing_else_is_drawn_the_check_says_so() -> None:
    report = tw.compile(squeezed("batch, 4")).check_report
    assert report is not None and report.unsuited > 0
    assert f"was not compiled for {report.unsuited} more" in str(report)
    with pytest.raises(InputError, match="of the kind that the model was compiled for"):
        tw.compile(two("four", "n, 4"))
