"""A model with weights that differ in their last bit: how far its results move says how well they are determined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from tilewright.ir.op import Array

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})


def nudge(model: ModelProto, seed: int) -> None:
    """Move the elements of all float weights that the model itself holds by one unit in the last place, up or down.

    Integers among them stay: exponents, limits and factors of sizes mean what they say.
    """
    rng = np.random.default_rng(seed)
    for tensor in _weights(model.graph):
        if tensor.data_type in _FLOATS and tensor.data_location != TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(_nudged(numpy_helper.to_array(tensor), rng), tensor.name))


def _weights(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _weights(inner)


def _nudged(array: Array, rng: np.random.Generator) -> Array:
    towards = rng.choice(np.array([-np.inf, np.inf], array.dtype), array.shape)
    with np.errstate(over="ignore"):
        moved = np.nextafter(array, towards)
    return np.where(np.isfinite(array) & (array != np.rint(array)) & np.isfinite(moved), moved, array)
