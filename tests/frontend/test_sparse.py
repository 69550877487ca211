"""Sparse tensors in ONNX models: as initializers, in subgraphs too, and in Constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, SparseTensorProto, helper, numpy_helper

from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.errors import CompilerError
from tilewright.ir.interpret import run
from tilewright.ir.op import Array

FLAT, PAIRS = [1, 4, 11], [[0, 1], [1, 0], [2, 3]]
DENSE = np.array([[0, 7, 0, 0], [8, 0, 0, 0], [0, 0, 0, 9]], np.float32)


def sparse(indices: object, dims: Sequence[int] = (3, 4), values: object = (7, 8, 9)) -> SparseTensorProto:
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "w"),
        numpy_helper.from_array(np.array(indices, np.int64), "i"),
        list(dims),
    )


def as_initializer(tensor: SparseTensorProto) -> ModelProto:
    proto = model("(float[n, 4] x) => (float[] y) <float w = {0}> { y = MatMul(t, x) t = Transpose(w) }")
    proto.graph.node[0].input[:] = ["x", "t"]
    del proto.graph.initializer[:]
    proto.graph.sparse_initializer.append(tensor)
    return proto


def as_constant(tensor: SparseTensorProto) -> ModelProto:
    proto = as_initializer(tensor)
    del proto.graph.sparse_initializer[:]
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.append(AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=tensor))
    proto.graph.node.append(node)
    return proto


def in_subgraph(tensor: SparseTensorProto) -> ModelProto:
    branch = "{ %s = MatMul(x, t) t = Transpose(w) }"
    proto = model(
        "(float[n, 4] x, bool b) => (float[] y) { y = If (b) "
        f"<then_branch = a () => (float[] p) <float w = {{0}}> {branch % 'p'}, "
        f"else_branch = c () => (float[] q) <float w = {{0}}> {branch % 'q'}> }}"
    )
    for attribute in proto.graph.node[0].attribute:
        del attribute.g.initializer[:]
        attribute.g.sparse_initializer.append(tensor)
    return proto


@pytest.mark.parametrize("build", [as_initializer, as_constant])
@pytest.mark.parametrize("indices", [FLAT, PAIRS])
def test_agrees_with_onnxruntime(build: Callable[[SparseTensorProto], ModelProto], indices: object) -> None:
    imported = read(build(sparse(indices)))
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    (ours,), (theirs,) = run(imported.graph, {"x": x}), imported.original({"x": x})
    np.testing.assert_array_equal(ours, x @ DENSE.T)
    np.testing.assert_array_equal(theirs, ours)


def test_in_subgraphs() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    (y,) = run(read(in_subgraph(sparse(PAIRS))).graph, {"x": x, "b": np.array(True)})
    np.testing.assert_allclose(y, x @ DENSE.T, rtol=1e-6)


def weights(tensor: SparseTensorProto) -> Array:
    proto = model("(float[n] x) => (float[] y, float[] z) { y = Relu(x) z = Identity(w) }")
    proto.graph.sparse_initializer.append(tensor)
    data = read(proto).graph.outputs[1].data
    assert data is not None
    return data


def test_nothing_stored_and_no_axes() -> None:
    np.testing.assert_array_equal(weights(sparse([], (2, 3), [])), np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(weights(sparse([0], (), [5])), np.float32(5))


BROKEN = {
    "outside": [sparse([1, 4, 12]), sparse([-1, 4, 11]), sparse([[0, 1], [1, 0], [0, 4]])],
    "ascend": [sparse([4, 1, 11]), sparse([1, 1, 2]), sparse([[1, 0], [0, 1], [2, 3]])],
    "for 3 values": [sparse([1, 4]), sparse([[0, 1, 2]] * 3), sparse([[[0]], [[1]], [[2]]])],
    "would take": [sparse([1, 4, 11], (2**20, 2**20)), sparse(PAIRS, (2**62, 2**62))],
    "negative": [sparse(FLAT, (-3, 4))],
    "2 axes": [sparse(FLAT, values=[[7, 8, 9]])],
}


@pytest.mark.parametrize(("problem", "tensor"), [(p, t) for p, tensors in BROKEN.items() for t in tensors])
def test_damaged(problem: str, tensor: SparseTensorProto) -> None:
    with pytest.raises(CompilerError, match=problem):
        weights(tensor)


def test_names_are_taken_once() -> None:
    proto = as_initializer(sparse(FLAT))
    proto.graph.initializer.append(numpy_helper.from_array(DENSE, "w"))
    with pytest.raises(CompilerError, match="two initializers called 'w'"):
        read(proto)
