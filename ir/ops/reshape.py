"""Reshape: the same elements in the same order under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import differ, require_sizes
from tilewright.ir.types import TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, result = types[0], types[0].with_shape(attrs["shape"])
    require_sizes(result.shape, "shape")
    if differ(x.size, result.size):
        sizes = dims.to_text(x.size), dims.to_text(result.size)
        raise TypeInferenceError(f"{x} has {sizes[0]} elements, but {result} has {sizes[1]}")
    return (result,)


def _ref(attrs: Attrs, x: Array) -> Array:
    return np.reshape(x, attrs["shape"])


def aligned_groups(old: Sequence[Dim], new: Sequence[Dim]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of both shapes that provably hold the same number of elements, as short as possible.

    Axes of size 1 are in no run. Whatever cannot be proved to line up ends in one last run.
    """
    a = [i for i, d in enumerate(old) if d != 1]
    b = [i for i, d in enumerate(new) if d != 1]
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        end_i, end_j = _next_cut([old[k] for k in a[i:]], [new[k] for k in b[j:]])
        groups.append((a[i : i + end_i], b[j : j + end_j]))
        i, j = i + end_i, j + end_j
    return groups


def _next_cut(old: Sequence[Dim], new: Sequence[Dim]) -> tuple[int, int]:
    """The shortest prefixes of equal product, or both to their end."""
    prefixes = [dims.product(new[:j]) for j in range(1, len(new) + 1)]
    for i in range(1, len(old) + 1):
        size = dims.product(old[:i])
        for j, other in enumerate(prefixes, 1):
            if dims.equal(size, other):
                return i, j
    return len(old), len(new)


def _compute(b: Any, node: Node, x: Any) -> Any:
    """Each run of axes is read through the flat place in it, which is the index itself where the run is one axis."""
    shape = b.shape(node.results[0])
    groups = aligned_groups(node.inputs[0].shape, node.results[0].shape)

    def element(*index: Any) -> Any:
        read: list[Any] = [0] * len(x.shape)
        for old, new in groups:
            flat = flatten([index[i] for i in new], [shape[i] for i in new])
            for axis, place in zip(old, unflatten(flat, [x.shape[i] for i in old]), strict=True):
                read[axis] = place
        return x(*read)

    return b.stage(shape, x.dtype, element)


def flatten(index: Sequence[Any], sizes: Sequence[Any]) -> Any:
    """The row-major place of `index` in an array of `sizes`."""
    flat: Any = 0
    for place, size in zip(index, sizes, strict=True):
        flat = flat * size + place
    return flat


def unflatten(flat: Any, sizes: Sequence[Any]) -> list[Any]:
    """The index whose row-major place is `flat`; the first axis needs no remainder."""
    index: list[Any] = []
    for size in reversed(sizes[1:]):
        index.insert(0, flat % size)
        flat = flat // size
    return [flat, *index] if sizes else []


def _samples() -> Sequence[Sample]:
    def sample(x: TensorType, *shape: Any) -> Sample:
        return Sample((x,), {"shape": tensor(x.dtype, *shape).shape})

    return [
        sample(tensor("float32", 2, 3, 4), 6, 4),
        sample(tensor("float32", "n", "s", 12), "n", "s", 3, 4),
        sample(tensor("int64", "n", 1, "h", "w"), "n", "h*w"),
        sample(tensor("float32", 4, 6), 3, 1, 8),
        sample(tensor("float32", 1, 1)),
        sample(tensor("bool", 2, 0, 3), 0, 5),
    ]


RESHAPE = Op(
    "reshape",
    Kind.INJECTIVE,
    _infer,
    _ref,
    _compute,
    (1, 1),
    {"shape": REQUIRED},
    _samples,
    doc="The same elements in row-major order under `shape`. Element counts that cannot be proved equal are "
    "checked when it runs.",
)
