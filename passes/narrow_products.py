"""Multiply integers in as few bits as they need.

ONNX's 8-bit products take the zero points off first, in 32 bits. What comes of it fits into 16 bits, or 8, and machines
multiply and sum several such numbers at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir.graph import Graph, Node, Value, apply, make_node

_LIMITS = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int8", "uint8", "int16", "uint16")}
_MOVES = ("expand", "reshape", "slice", "transpose")  # whose elements are those of the input, unlike a cubic resize

Bounds = tuple[int, int]


def narrow_products(graph: Graph) -> Graph:
    """Products of int32 with constants take 16 bits of each operand, or 8 of a constant, and are summed in 32."""

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not _is_summed_in_pairs(node) or not _fits(bounds(node.inputs[0]), "int16"):
            return None
        left, right, *rest = inputs
        narrow = next((n for n in ("int8", "int16") if _fits(bounds(node.inputs[1]), n)), None)
        if narrow is None:
            return None
        operands = [apply("cast", left, to="int16"), apply("cast", right, to=narrow), *rest]
        attrs = {**node.attrs, "dtype": "int32"}
        return make_node(node.op, operands, attrs, source=node.source, names=[r.name for r in node.results]).results

    return graph.map_nodes(visit)


def _is_summed_in_pairs(node: Node) -> bool:
    """A product of int32 with a constant matrix or kernel that sums an even number of neighbours."""
    if node.op.name not in ("matmul", "conv"):
        return False
    left, right = node.inputs[:2]
    if left.dtype != "int32" or not right.is_constant:
        return False
    if node.op.name == "conv":
        return bool(node.attrs["channels_last"]) and right.shape[1] % 2 == 0
    return right.rank == 2 and left.rank >= 2 and right.shape[0] % 2 == 0


def _fits(found: Bounds | None, dtype: str) -> bool:
    low, high = _LIMITS[dtype]
    return found is not None and low <= found[0] and found[1] <= high


def bounds(value: Value) -> Bounds | None:
    """The least and the greatest number that an integer value can hold, as far as its making tells; None: unknown."""
    if value.data is not None:
        return (int(value.data.min()), int(value.data.max())) if value.data.size else (0, 0)
    if value.dtype in _LIMITS:
        return _LIMITS[value.dtype]
    node = value.node
    if node is None:
        return None
    if node.op.name == "cast" and node.inputs[0].dtype in _LIMITS:
        return _LIMITS[node.inputs[0].dtype]
    if node.op.name == "sub":
        left, right = map(bounds, node.inputs)
        return None if left is None or right is None else (left[0] - right[1], left[1] - right[0])
    return bounds(node.inputs[0]) if node.op.name in _MOVES else None
