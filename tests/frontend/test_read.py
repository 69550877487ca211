"""What `read` returns: names, sizes, sources, and models that are graphs already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.errors import ImportModelError
from tilewright.ir.graph import Graph, apply, input_value
from tilewright.ir.types import tensor


def two_inputs() -> ModelProto:
    proto = model("(float[first, k] x, float[batch_size, k] z) => (float[out] y) { y = Add(x, x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch.size"
    return proto


def types(graph: Graph) -> list[str]:
    return [str(v.type) for v in (*graph.inputs, *graph.outputs)]


def test_names_of_sizes() -> None:
    imported = read(two_inputs())
    assert types(imported.graph) == ["float32[batch_size, k]", "float32[batch_size_2, k]", "float32[batch_size, k]"]
    assert imported.symbols == {"batch.size": "batch_size", "batch_size": "batch_size_2", "k": "k"}


def test_sizes_without_names_are_their_own() -> None:
    proto = model("(float[a, b, c, d, in] x) => (float[] y) { y = Relu(x) }")
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    shape[0].ClearField("dim_param")
    shape[1].dim_value = -1
    shape[2].dim_param = "?"
    shape[3].dim_param = "?"
    assert types(read(proto).graph)[0] == "float32[x_d0, x_d1, x_d2, x_d3, d_in]"


@pytest.mark.parametrize("name", ["batch.size", "k"])
def test_sizes_can_be_fixed(name: str) -> None:
    imported = read(two_inputs(), shapes={name: 7})
    assert imported.graph.outputs[0].shape.count(7) == 1
    assert name not in imported.symbols


@pytest.mark.parametrize("shapes", [{"nothing": 3}, {"k": 0}])
def test_sizes_that_cannot_be_fixed(shapes: dict[str, int]) -> None:
    with pytest.raises(ImportModelError, match="size"):
        read(two_inputs(), shapes=shapes)


def test_initializers_among_the_inputs_are_constants() -> None:
    proto = model("(float[n] x) => (float[] y) <float[1] w = {2.0}> { y = Mul(x, w) }")
    proto.graph.input.append(proto.graph.input[0])
    proto.graph.input[1].name = "w"
    graph = read(proto).graph
    assert [v.name for v in graph.inputs] == ["x"]
    assert [v.name for v in graph.constants] == ["w"]


def test_nodes_know_where_they_came_from() -> None:
    proto = model("(float[n] x) => (float[] y) { y = HardSwish(x) }", 14)
    proto.graph.node[0].name = "encoder/act"
    assert {node.source for node in read(proto).graph.nodes} == {"HardSwish 'encoder/act' (output 'y')"}


def test_order_of_nodes_does_not_matter() -> None:
    proto = model("(float[n] x) => (float[] y) { y = Relu(a)  a = Neg(x) }")
    assert [node.op.name for node in read(proto).graph.nodes] == ["neg", "maximum"]


def test_shape_chains_leave_no_nodes() -> None:
    text = (
        "(float[n, s, 6] x) => (float[] y) <int64[1] i = {1}, int64[2] rest = {-1, 2}> "
        "{ t = Shape(x)  k = Gather(t, i)  r = Concat <axis = 0> (k, rest)  y = Reshape(x, r) }"
    )
    graph = read(model(text)).graph
    assert [node.op.name for node in graph.nodes] == ["reshape"]
    assert types(graph)[-1] == "float32[s, 3*n, 2]"


def test_sizes_read_as_data_are_one_value() -> None:
    text = "(float[n, s] x) => (int64[] y) <int64 two = {2}> { t = Shape(x)  a = Mul(t, two)  y = Add(a, t) }"
    (node,) = read(model(text)).graph.nodes
    assert node.op.name == "sizes"


def test_large_constants_are_not_folded() -> None:
    text = "(float[n, 64] x) => (float[] y) { c = ConstantOfShape(t)  d = Mul(c, c)  y = Add(x, d) }"
    proto = model(text.replace("=> (float[] y)", "=> (float[] y) <int64[2] t = {64, 64}>"))
    assert [node.op.name for node in read(proto).graph.nodes] == ["expand", "mul", "add"]


def test_the_original_and_the_name(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(two_inputs().SerializeToString())
    imported = read(path)
    x = np.ones((2, 3), np.float32)
    (y,) = imported.original({"x": x, "z": x})
    np.testing.assert_array_equal(y, x + x)
    assert imported.name == "small"
    assert read(path.read_bytes()).name == "test"


def test_graphs_pass_through() -> None:
    x = input_value("x", tensor("float32", "n", 4))
    graph = Graph((x,), (apply("reshape", x, shape=(x.type.size,)),), ("y",))
    imported = read(graph)
    assert imported.graph is graph
    (y,) = imported.original({"x": np.ones((3, 4), np.float32)})
    assert y.shape == (12,)
    assert types(read(graph, shapes={"n": 2}).graph) == ["float32[2, 4]", "float32[8]"]
    with pytest.raises(ImportModelError, match="Its symbolic sizes are: n"):
        read(graph, shapes={"m": 2})
