"""Multiply integers in as few bits as they need.

ONNX's 8-bit products take the zero points off first, in 32 bits. What comes of it fits into 16 bits, or 8, and machines
multiply and sum several such numbers at once. Matrices may do without taking them off: (q - z) W = q W - z (1 W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.ir.graph import Graph, Node, Value, apply, constant, make_node
from tilewright.ir.quads import QUAD, spare_quads
from tilewright.passes.bounds import LIMITS, Bounds, bounds


@dataclass(frozen=True)
class NarrowProducts:
    """Products of int32 with constants take 8 bits of both operands, or 16 of one or both, and are summed in 32.

    `any_quads`: whether the machine sums four products of 8 bits whatever the weights, and not only those that
    `ir.quads` finds fit for it.
    """

    any_quads: bool = False

    def __call__(self, graph: Graph) -> Graph:
        return graph.map_nodes(self._narrowed)

    def _narrowed(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        found = _conv_in_quads(node, inputs) if self.any_quads else None
        if found is not None or not _is_summed_in_pairs(node):
            return found
        return self._in_quads(node, inputs) or _in_pairs(node, inputs)

    def _in_quads(self, node: Node, inputs: Sequence[Value]) -> Sequence[Value] | None:
        """A product with a matrix of 8 bits, less what the zero point of the other takes off; None: take 16 bits."""
        weights = inputs[1].data
        if node.op.name != "matmul" or weights is None or not _fits(bounds(inputs[1]), "int8") or len(weights) % QUAD:
            return None
        left, narrow = _Quantized.of(inputs[0]), weights.astype(np.int8)
        if left is None or not (self.any_quads or spare_quads([narrow]) is not None):
            return None
        operands, attrs = [left.unsigned, constant(narrow)], {**node.attrs, "dtype": "int32"}
        (product,) = make_node(node.op, operands, attrs, source=node.source, names=[node.results[0].name]).results
        if left.zero is None:
            return (product,)
        sums = constant(weights.sum(axis=0, dtype=np.int32))
        return (apply("sub", product, apply("mul", left.zero, sums), source=node.source),)


narrow_products = NarrowProducts()


def _conv_in_quads(node: Node, inputs: Sequence[Value]) -> Sequence[Value] | None:
    """A convolution of 8 bits, less what the zero point of the image takes off; None: it cannot be."""
    if node.op.name != "conv" or node.inputs[0].dtype != "int32" or not node.attrs["channels_last"]:
        return None
    image, weights = _Quantized.of(inputs[0]), inputs[1].data
    if image is None or image.number not in range(256) or weights is None or not _fits(bounds(inputs[1]), "int8"):
        return None
    missing = -weights.shape[1] % QUAD
    if (missing and node.attrs["groups"] > 1) or not all(isinstance(p, int) and p >= 0 for p in node.attrs["pads"]):
        return None
    padded, pads = _padded(image, node.attrs["pads"], missing)
    filled = np.pad(weights.astype(np.int8), ((0, 0), (0, missing), *[(0, 0)] * (weights.ndim - 2)))
    attrs = {**node.attrs, "pads": pads, "dtype": "int32"}
    operands, names = [padded, constant(filled), *inputs[2:]], [node.results[0].name]
    (product,) = make_node(node.op, operands, attrs, source=node.source, names=names).results
    if not image.number:
        return (product,)
    sums = weights.sum(axis=tuple(range(1, weights.ndim)), dtype=np.int32)
    return (apply("sub", product, constant(sums * np.int32(image.number)), source=node.source),)


def _padded(image: _Quantized, pads: Sequence[int], missing: int) -> tuple[Value, Sequence[int]]:
    """The image with `missing` channels more and, where they are not zeros, its pads; and the pads that are left."""
    if not missing and not (image.number and any(pads)):
        return image.unsigned, pads
    rank = len(pads) // 2
    before, after = (0, *pads[:rank], 0), (0, *pads[rank:], missing)
    return apply("pad", image.unsigned, before=before, after=after, value=image.number), (0,) * len(pads)


def _in_pairs(node: Node, inputs: Sequence[Value]) -> Sequence[Value] | None:
    left, right, *rest = inputs
    narrow = next((n for n in ("int8", "int16") if _fits(bounds(node.inputs[1]), n)), None)
    if narrow is None or not _fits(bounds(node.inputs[0]), "int16"):
        return None
    operands = [apply("cast", left, to="int16"), apply("cast", right, to=narrow), *rest]
    attrs = {**node.attrs, "dtype": "int32"}
    return make_node(node.op, operands, attrs, source=node.source, names=[r.name for r in node.results]).results


@dataclass(frozen=True)
class _Quantized:
    """int32 numbers that are `unsigned`, of 8 bits, less `zero`, which is the same along the last axis."""

    unsigned: Value
    zero: Value | None

    @property
    def number(self) -> int | None:
        """The zero point, if it is one that is known."""
        if self.zero is None:
            return 0
        data = self.zero.data
        return int(data.reshape(())) if data is not None and data.size == 1 else None

    @classmethod
    def of(cls, value: Value) -> _Quantized | None:
        quantized, zero = value, None
        if value.node is not None and value.made_by("sub"):
            quantized, zero = value.node.inputs
            if zero.rank > value.rank or (zero.rank and zero.shape[-1] != 1):
                return None
        if quantized.node is None or not quantized.made_by("cast") or quantized.shape != value.shape:
            return None
        narrow, half = quantized.node.inputs[0], constant(128, "int32")
        if narrow.dtype == "int8":
            return cls(apply("cast", apply("add", quantized, half), to="uint8"), _sum(zero, half))
        return cls(narrow, zero) if narrow.dtype == "uint8" else None


def _sum(a: Value | None, b: Value) -> Value:
    if a is None:
        return b
    return apply("add", a, b) if a.data is None else constant(a.data + b.data)


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
    low, high = LIMITS[dtype]
    return found is not None and low <= found[0] and found[1] <= high
