"""Which values count: start, start + step, start + 2 * step, ... along one axis. Used to turn gathers into slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Node, Value
from tilewright.ir.op import Array
from tilewright.ir.types import INTEGERS
from tilewright.passes.patterns import uniform

MAX_DEPTH = 16
MAX_CONSTANT = 1 << 16


@dataclass(frozen=True)
class Counting:
    """Element i holds start + step * i[axis]; without an axis every element is `start`."""

    start: Dim
    step: Dim = 0
    axis: int | None = None


def counting(value: Value, depth: int = MAX_DEPTH) -> Counting | None:
    """How the integers in `value` count, or None where that cannot be seen."""
    if value.dtype not in INTEGERS or depth == 0:
        return None
    if value.data is not None:
        return _of_constant(value.data)
    node = value.node
    if node is None:
        return None
    if node.op.name == "range":
        return Counting(node.attrs["start"], node.attrs["step"], 0)
    inner = counting(node.inputs[0], depth - 1) if node.inputs else None
    return None if inner is None else _after(node, inner)


def least(value: Value) -> int | None:
    """The smallest integer in `value`, where that is known."""
    found = counting(value)
    if found is None or not isinstance(found.start, int) or not isinstance(found.step, int) or found.step < 0:
        return None
    return found.start


def _of_constant(data: Array) -> Counting | None:
    if data.size == 0 or data.size > MAX_CONSTANT:
        return None
    start = int(data.flat[0])
    if data.size == 1:
        return Counting(start)
    for axis, size in enumerate(data.shape):
        if size > 1:
            line = np.moveaxis(data, axis, -1).reshape(-1, size)[0]
            step = int(line[1]) - start
            shape = [-1 if a == axis else 1 for a in range(data.ndim)]
            if bool((data == (start + step * np.arange(size)).reshape(shape)).all()):
                return Counting(start, step, axis)
    return None


def _after(node: Node, inner: Counting) -> Counting | None:
    """How the result of `node` counts whose first input counts as `inner`."""
    before, after = node.inputs[0].shape, node.results[0].shape
    match node.op.name:
        case "cast":
            return inner
        case "reshape":
            return _reshaped(inner, before, after)
        case "expand":
            return _expanded(inner, before, after)
        case "transpose":
            return inner if inner.axis is None else replace(inner, axis=node.attrs["perm"].index(inner.axis))
        case "slice":
            return _sliced(node, inner)
        case "add":
            offset = uniform(node.inputs[1])
            kept = None if offset is None else _expanded(inner, before, after)
            return kept and replace(kept, start=dims.as_dim(kept.start + int(offset)))
    return None


def _reshaped(inner: Counting, before: Sequence[Dim], after: Sequence[Dim]) -> Counting | None:
    """Only axes of size 1 may come and go."""
    old, new = ([axis for axis, dim in enumerate(shape) if dim != 1] for shape in (before, after))
    if inner.axis is None:
        return inner
    if inner.axis not in old or not dims.same_shape((before[a] for a in old), (after[a] for a in new)):
        return None
    return replace(inner, axis=new[old.index(inner.axis)])


def _expanded(inner: Counting, before: Sequence[Dim], after: Sequence[Dim]) -> Counting | None:
    if inner.axis is None:
        return inner
    axis = inner.axis + len(after) - len(before)
    return replace(inner, axis=axis) if dims.equal(before[inner.axis], after[axis]) else None


def _sliced(node: Node, inner: Counting) -> Counting:
    if inner.axis is None:
        return inner
    start, step = node.attrs["starts"][inner.axis], node.attrs["steps"][inner.axis]
    return replace(inner, start=dims.as_dim(inner.start + inner.step * start), step=dims.as_dim(inner.step * step))
