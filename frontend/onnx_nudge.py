"""A model with weights that differ in their last bits: how far its results move says how well they are determined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from tilewright.ir.op import Array

_SIZED = frozenset({"Resize", "Upsample", "Range"})  # operators that make sizes of floats
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})


def nudge(model: ModelProto, seed: int) -> bool:
    """Move the float32 and float64 weights that the model itself holds by some units in the last place, up or down.

    By one for the first two seeds, by twice as many for the next two, and so on: sums differ by several. Integers among
    them stay, and so does what sizes come from: exponents, limits and factors mean what they say. Says whether there
    was anything to move.
    """
    rng, graphs = np.random.default_rng(seed), list(_graphs(model.graph))
    sizes = {name for graph in graphs for node in graph.node if node.op_type in _SIZED for name in node.input}
    moved = False
    for tensor in (tensor for graph in graphs for tensor in _weights(graph)):
        if tensor.data_type in _FLOATS and tensor.data_location != TensorProto.EXTERNAL and tensor.name not in sizes:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(_nudged(array, rng, 2 ** (seed // 2)), tensor.name))
            moved = moved or bool((array != np.rint(array)).any())
    return moved


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those within its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _weights(graph: GraphProto) -> Iterator[TensorProto]:
    """Initializers and constants of a graph, by the names of their values."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                attribute.t.name = node.output[0]
                yield attribute.t


def _nudged(array: Array, rng: np.random.Generator, units: int) -> Array:
    signs = rng.integers(0, 2, array.shape, np.int8) * 2 - 1
    with np.errstate(over="ignore", invalid="ignore"):
        moved = (array + signs * units * np.spacing(array)).astype(array.dtype)
    return np.where(np.isfinite(array) & (array != np.rint(array)) & np.isfinite(moved), moved, array)
