"""Inverses: Gauss-Jordan elimination in place, pivots found in columns, in float64; threads share the matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tilewright.backends.kernels.elimination import exchange, exchange_rows, pivot_row
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Index, Loops, const
from tilewright.backends.kernels.ranges import product, tasks, worth_forking
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "inverse" else "is not an inverse"


def emit(group: Group) -> Mapping[Value, Layout]:
    """Exchanged rows of the matrix are columns of the inverse, which only its copy to the result puts right."""
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    k, b, x = group.k, group.b, group.tensors[node.inputs[0]]
    *batch, size, _ = x.shape
    with tasks(k, batch, worth_forking(product(x.shape), 8.0)) as place:
        matrix, order = k.scratch("matrix", (size, size), "float64"), k.scratch("order", (size,), "int64")
        with k.serial(size) as i:
            k.store(order, (i,), i)
            with k.serial(size) as j:
                k.store(matrix, (i, j), b.cast(x(*place, i, j), "float64"))
        with k.serial(size) as step:
            row = pivot_row(k, b, matrix, size, step)
            with k.when(row != step):
                exchange_rows(k, matrix, size, step, row)
                exchange(k, order, (step,), (row,))
            _clear_column(group, matrix, size, step)
        with k.serial(size) as i, k.serial(size) as j:
            k.store(group.outputs[node.results[0]], (*place, i, order[j]), b.cast(matrix[i, j], x.dtype))
    return {}


def _clear_column(group: Group, matrix: Buffer, size: Index, step: Index) -> None:
    """Make column `step` one of the identity, whose own column takes its place. A pivot of 0 makes everything NaN."""
    k, b = group.k, group.b
    pivot = k.let("pivot", matrix[step, step])
    scale = k.let("scale", b.select(pivot != 0.0, const(1.0, "float64") / pivot, const(math.nan, "float64")))
    k.store(matrix, (step, step), 1.0)
    with k.serial(size) as j:
        k.store(matrix, (step, j), matrix[step, j] * scale)
    _clear_rows(k, matrix, (0, step), size, step)
    _clear_rows(k, matrix, (step + 1, size), size, step)


def _clear_rows(k: Loops, matrix: Buffer, rows: tuple[Index, Index], size: Index, step: Index) -> None:
    first, last = rows
    with k.serial(last - first, first) as i:
        factor = k.let("factor", matrix[i, step])
        k.store(matrix, (i, step), 0.0)
        with k.serial(size) as j:
            k.store(matrix, (i, j), matrix[i, j] - factor * matrix[step, j])


RULE = Rule("inverse", declines, emit)
