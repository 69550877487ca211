"""Determinants: Gaussian elimination with partial pivoting in float64, the matrices shared among the threads."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.elimination import exchange_rows, pivot_row
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Index, const
from tilewright.backends.kernels.ranges import product, tasks, worth_forking
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "det" else "is not a determinant"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
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
    row = pivot_row(k, group.b, matrix, size, step)
    with k.when(row != step):
        exchange_rows(k, matrix, size, step, row)
        k.store(total, (0,), -total[0])
    pivot = k.let("pivot", matrix[step, step])
    k.store(total, (0,), total[0] * pivot)
    with k.when(pivot != 0.0), k.serial(size - step - 1, step + 1) as i:
        factor = k.let("factor", matrix[i, step] / pivot)
        with k.serial(size - step - 1, step + 1) as j:
            k.store(matrix, (i, j), matrix[i, j] - factor * matrix[step, j])


RULE = Rule("determinant", declines, emit)
