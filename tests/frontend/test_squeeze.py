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


def test_unknown_sizes_are_taken_to_be_greater_than_1() -> None:
    compiled = tw.compile(squeezed("batch, 4"), strict=True)
    assert compiled.check_report is not None and compiled.check_report.passed
    assert compiled(**rows(3)).shape == (3, 4)
    with pytest.raises(InputError, match=r"drops axes of size 1.* greater sizes batch; .*shapes=\{name: 1\}"):
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
