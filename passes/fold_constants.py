"""Fold constants: operators that read only constants are computed now, by their reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Node, Value, constant
from tilewright.ir.op import Kind
from tilewright.ir.types import TensorType, numpy_dtype


@dataclass(frozen=True)
class FoldConstants:
    """A result of up to `free` bytes is always computed, a larger one if it is at most `growth` times its inputs.

    So int8 weights become float32 weights, but a scalar is not expanded to a huge tensor.
    """

    free: int = 1 << 20
    growth: int = 4

    def __call__(self, graph: Graph) -> Graph:
        return graph.map_nodes(self._fold)

    def _fold(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not all(v.is_constant for v in inputs) or not _is_fixed(node) or not self._fits(node, inputs):
            return None
        with np.errstate(all="ignore"):
            arrays = node.op.run(node.attrs, [v.data for v in inputs if v.data is not None])
        return [
            constant(np.asarray(array, dtype=numpy_dtype(result.dtype)), name=result.name)
            for array, result in zip(arrays, node.results, strict=True)
        ]

    def _fits(self, node: Node, inputs: Sequence[Value]) -> bool:
        made = sum(_bytes(v.type) for v in node.results)
        return made <= max(self.free, self.growth * sum(_bytes(v.type) for v in inputs))


def _is_fixed(node: Node) -> bool:
    """Whether the result depends on nothing but the inputs: no symbolic size, no region, no chance."""
    if node.op.name == "random" and node.attrs["seed"] is None:
        return False
    if node.op.kind is Kind.OPAQUE or not all(v.type.is_static for v in node.results):
        return False
    return all(_is_plain(value) for value in node.attrs.values())


def _is_plain(attribute: object) -> bool:
    if isinstance(attribute, tuple):
        return all(map(_is_plain, attribute))
    return attribute is None or isinstance(attribute, (bool, int, float, str))


def _bytes(type: TensorType) -> int:
    size: Dim = type.size
    assert isinstance(size, int)
    return size * numpy_dtype(type.dtype).itemsize


fold_constants = FoldConstants()
