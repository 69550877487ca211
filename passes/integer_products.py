"""Products between dequantize and quantize, as static quantizers write them, are computed with the integers themselves.

Sums are exact then, 8-bit products take less time than floats, and results are rounded as those of onnxruntime's own
quantized operators: sums times one factor, in which the scale of the result is (QLinearConv, QLinearMatMul), or times
the scales of the operands first (QGemm, which has a bias). Where 0 is the least number that the result can be, a relu
before it does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.ir.graph import Graph, Node, Value, apply, constant
from tilewright.ir.op import Array

_EIGHT_BITS = ("int8", "uint8")
_LIMIT = 1 << 31  # sums of more would wrap around, which those of floats do not
_NEAR = 1e-5  # relative: how far the scale of a bias may be from the product of the operands' scales


def integer_products(graph: Graph) -> Graph:
    """Convolutions and matrix products of dequantized numbers with dequantized constants that are quantized at once."""

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "quantize" or node.attrs["axis"] is not None or not _read_once(graph, node.inputs[0]):
            return None
        step, zero = _known(inputs[1]), inputs[2]
        made = _without_relu(inputs[0], zero).node
        if made is None or step is None or step.dtype != np.float32:
            return None
        if made.op.name == "add":
            return _gemm(made, step, zero)
        product = _Product.of(made, made.inputs[2] if made.op.name == "conv" and len(made.inputs) > 2 else None)
        return None if product is None else (product.rescaled(made, step, zero),)

    return graph.map_nodes(visit)


def _read_once(graph: Graph, value: Value) -> bool:
    """Whether nothing but one node reads the value, nor what it is a sum or the relu of."""
    if graph.uses(value) != 1:
        return False
    return value.node is None or value.node.op.name not in ("add", "maximum") or _read_once(graph, value.node.inputs[0])


def _without_relu(value: Value, zero: Value) -> Value:
    """What a relu is made of, if what is quantized with this zero point is not negative anyhow."""
    point, node = _known(zero), value.node
    if node is None or node.op.name != "maximum" or point is None or point.size != 1:
        return value
    floor = _known(node.inputs[1])
    is_relu = floor is not None and floor.size == 1 and not floor.any() and node.inputs[0].shape == value.shape
    return node.inputs[0] if is_relu and point.item() == np.iinfo(point.dtype).min else value


def _gemm(add: Node, step: Array, zero: Value) -> Sequence[Value] | None:
    """The sum of a matrix product and a bias for each column."""
    product, bias = add.inputs
    if product.node is None or product.node.op.name != "matmul" or bias.rank != 1:
        return None
    found = _Product.of(product.node, bias)
    if found is None:
        return None
    floats = apply("mul", apply("cast", found.sums(product.node), to="float32"), constant(found.scale))
    return (apply("quantize", floats, constant(step), zero, source=add.source),)


@dataclass(frozen=True)
class _Product:
    """The operands of a product less their zero points, and the scale of its sums: one, or one for each channel."""

    left: Value
    right: Array
    bias: Array | None
    scale: Array

    @classmethod
    def of(cls, node: Node, bias: Value | None) -> _Product | None:
        if node.op.name not in ("conv", "matmul") or node.attrs["dtype"] is not None:
            return None
        left, right = _Dequantized.of(node.inputs[0]), _Dequantized.of(node.inputs[1])
        if left is None or right is None or left.scale.ndim or right.value.data is None:
            return None
        if node.op.name == "matmul" and (right.value.rank != 2 or node.inputs[0].rank < 2):
            return None
        if right.scale.ndim and right.axis != (0 if node.op.name == "conv" else 1):
            return None
        with np.errstate(all="ignore"):
            scale = (left.scale * right.scale).astype(np.float32)
        added = None if bias is None else _Dequantized.of(bias, ("int32",))
        if bias is not None and (added is None or added.value.data is None or not _is_near(added.scale, scale)):
            return None
        numbers = None if added is None else added.numbers()
        summed = (0,) if node.op.name == "matmul" else tuple(range(1, right.value.rank))
        found = cls(left.centred(), right.numbers(), numbers, scale)
        return found if found.largest(left, summed) < _LIMIT else None

    def largest(self, left: _Dequantized, summed: Sequence[int]) -> int:
        """The largest size that a sum over the axes `summed` of the right operand can have."""
        limits = np.iinfo(left.value.dtype)
        factor = max(abs(limits.max - int(left.zero)), abs(limits.min - int(left.zero)))
        sums = factor * np.abs(self.right.astype(np.int64)).sum(axis=tuple(summed))
        return int((sums + (0 if self.bias is None else np.abs(self.bias.astype(np.int64)))).max(initial=0))

    def sums(self, node: Node) -> Value:
        """int32, with the bias, which is int32 in units of the scale."""
        bias = [] if self.bias is None else [constant(self.bias)]
        if node.op.name == "conv":
            return apply("conv", self.left, constant(self.right), *bias, source=node.source, **node.attrs)
        total = apply("matmul", self.left, constant(self.right), source=node.source)
        return apply("add", total, *bias) if bias else total

    def rescaled(self, node: Node, step: Array, zero: Value) -> Value:
        """The sums quantized: all three scales become one factor first."""
        with np.errstate(all="ignore"):
            factor = (self.scale / step).astype(np.float32)
        trailing = node.results[0].rank - 2 if node.op.name == "conv" and factor.ndim else 0
        floats = apply("cast", self.sums(node), to="float32")
        scaled = apply("mul", floats, constant(factor.reshape((*factor.shape, *[1] * trailing))))
        return apply("quantize", scaled, constant(np.float32(1)), zero, source=node.source)


@dataclass(frozen=True)
class _Dequantized:
    """scale * (value - zero), with one scale and zero point or one along `axis`."""

    value: Value
    scale: Array
    zero: Array
    axis: int | None

    @classmethod
    def of(cls, value: Value, dtypes: Sequence[str] = _EIGHT_BITS) -> _Dequantized | None:
        node = value.node
        if node is not None and node.op.name == "transpose":
            inner = cls.of(node.inputs[0], dtypes)
            return None if inner is None or inner.value.data is None else inner.transposed(node.attrs["perm"])
        if node is None or node.op.name != "dequantize" or node.attrs["block"] or node.inputs[0].dtype not in dtypes:
            return None
        scale, *rest = map(_known, node.inputs[1:])
        zero = rest[0] if rest else np.zeros((), np.int32)
        if scale is None or zero is None or scale.dtype != np.float32:
            return None
        return cls(node.inputs[0], scale, zero.astype(np.int32), node.attrs["axis"])

    def transposed(self, perm: Sequence[int]) -> _Dequantized:
        assert self.value.data is not None
        axis = None if self.axis is None else tuple(perm).index(self.axis)
        return _Dequantized(constant(self.value.data.transpose(perm)), self.scale, self.zero, axis)

    def numbers(self) -> Array:
        """Those of a constant, less its zero point, as int32."""
        assert self.value.data is not None
        shape = [-1 if axis == self.axis else 1 for axis in range(self.value.rank)]
        zero = self.zero.reshape(shape) if self.zero.ndim else self.zero
        return np.asarray(self.value.data.astype(np.int32) - zero)

    def centred(self) -> Value:
        """The value less its zero point, which is one number, as int32."""
        wide = apply("cast", self.value, to="int32")
        return apply("sub", wide, constant(self.zero)) if self.zero.any() else wide


def _known(value: Value) -> Array | None:
    """The elements of a constant, perhaps in another shape."""
    if value.data is None and value.node is not None and value.node.op.name == "reshape":
        inner = _known(value.node.inputs[0])
        return None if inner is None else inner.reshape([int(size) for size in value.shape])
    return value.data


def _is_near(scale: Array, wanted: Array) -> bool:
    return bool(np.all(np.abs(scale - wanted) <= _NEAR * np.abs(wanted)))
