"""Convolutions of integers that sum one channel, as depthwise ones, are computed in float32 where that is exact.

Their sums are short: they stay below 2**24, up to which float32 has all integers. Processors multiply and add floats in
vectors at once, while products of 8 or 16 bits gain nothing where no neighbours are summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilewright.ir.graph import Graph, Node, Value, apply, constant
from tilewright.passes.bounds import Bounds, bounds

_LIMIT = 1 << 24


def exact_floats(graph: Graph) -> Graph:
    """Such convolutions of int32 with constants as ones of float32, with the bias added in int32 after that."""
    return graph.map_nodes(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name != "conv" or node.inputs[0].dtype != "int32" or node.attrs["channels_last"]:
        return None
    image, weights, *bias = inputs
    if weights.data is None or weights.shape[1] != 1 or not _is_exact(math.prod(weights.data.shape[2:]), node.inputs):
        return None
    floats = apply("cast", image, to="float32"), constant(weights.data.astype("float32"))
    sums = apply("conv", *floats, source=node.source, **node.attrs)
    result = apply("cast", sums, to="int32")
    if not bias:
        return (result,)
    column = apply("reshape", bias[0], shape=(bias[0].shape[0], *[1] * (image.rank - 2)))
    return (apply("add", result, column, source=node.source),)


def _is_exact(terms: int, inputs: Sequence[Value]) -> bool:
    found = [bounds(value) for value in inputs[:2]]
    return all(found) and terms * math.prod(_largest(each) for each in found if each) < _LIMIT


def _largest(found: Bounds) -> int:
    return max(map(abs, found))
