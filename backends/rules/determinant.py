"""Determinants: Gaussian elimination with partial pivoting in float64, the matrices shared among the threads."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Index, Loops, const
from tilewright.backends.kernels.ranges import product, tasks, worth_forking
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "det" else "is not a determinant"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, held=node.results[0])
    k, b, x = group.k, group.b, group.tensors[node.inputs[0]]
    *batch, size, _ = x.shape
    with tasks(k, batch, worth_forking(product(x.shape), 8.0)) as place:
        matrix, total = k.scratch("matrix", (size, size), "float64"), k.local("total", (1,), "float64")
        with k.serial(size) as i, k.serial(size) as j:
            k.store(matrix, (i, j), b.cast(x(*place, i, j), "float64"))
        k.store(total, (0,), const(1.0, "float64"))
        with k.serial(size) as step:
            _eliminate(group, matrix, total, size, step)
        k.store(group.outputs[node.results[0]], place, b.cast(total[0], x.dtype))
    return {}


def _eliminate(group: Group, matrix: Buffer, total: Buffer, size: Index, step: Index) -> None:
    """Multiply `total` by the pivot of column `step`, and clear the column below it."""
    k = group.k
    row = _pivot_row(group, matrix, size, step)
    with k.when(row != step):
        _exchange(k, matrix, size, step, row)
        k.store(total, (0,), -total[0])
    pivot = k.let("pivot", matrix[step, step])
    k.store(total, (0,), total[0] * pivot)
    with k.when(pivot != 0.0), k.serial(size - step - 1, step + 1) as i:
        factor = k.let("factor", matrix[i, step] / pivot)
        with k.serial(size - step - 1, step + 1) as j:
            k.store(matrix, (i, j), matrix[i, j] - factor * matrix[step, j])


def _pivot_row(group: Group, matrix: Buffer, size: Index, step: Index) -> Index:
    """The row at or below `step` with the greatest magnitude in that column."""
    k, b = group.k, group.b
    best = k.local("best", (1,), "int64")
    k.store(best, (0,), step)
    with k.serial(size - step, step) as i, k.when(b.abs(matrix[i, step]) > b.abs(matrix[best[0], step])):
        k.store(best, (0,), i)
    return k.let("row", best[0])


def _exchange(k: Loops, matrix: Buffer, size: Index, first: Index, second: Index) -> None:
    with k.serial(size) as j:
        held = k.local("held", (1,), "float64")
        k.store(held, (0,), matrix[first, j])
        k.store(matrix, (first, j), matrix[second, j])
        k.store(matrix, (second, j), held[0])


RULE = Rule("determinant", declines, emit)
