"""Transposes that change the innermost axis, with the elementwise operators before and after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.backends.kernels.collapse import collapse
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.interleaved import emit_interleaved, may_interleave
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.kernels.transposed import emit_transposed, lanes_of
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Kind
from tilewright.ir.types import numpy_dtype

_WIDTHS = (4, 8)  # bytes of an element that registers can turn


def _turn(body: Graph) -> Node | None:
    """The transpose, where it is the only operator that is not elementwise."""
    turns = [node for node in body.nodes if node.op.kind is not Kind.ELEMENTWISE]
    return turns[0] if len(turns) == 1 and turns[0].op.name == "transpose" else None


def declines(group: Group) -> str:
    node = _turn(group.body)
    if node is None:
        return "is not one transpose"
    source = node.inputs[0]
    if numpy_dtype(source.dtype).itemsize not in _WIDTHS:
        return f"moves {source.dtype}"
    node = _turn(collapse(group.body))
    if node is None or not node.attrs["perm"] or node.attrs["perm"][-1] == node.results[0].rank - 1:
        return "its innermost axis stays"
    lanes = lanes_of(Vectors.of(group.target), source.dtype)
    innermost = node.inputs[0].shape[-1], node.results[0].shape[-1]
    fills = not any(isinstance(d, int) and d < lanes for d in innermost)
    few = any(may_interleave(*pair, source.dtype, lanes) for pair in (innermost, innermost[::-1]))
    return "" if fills or few else "fills no vectors"


def emit(group: Group) -> Mapping[Value, Layout]:
    group.body = collapse(group.body)
    node = _turn(group.body)
    assert node is not None
    source, held = node.inputs[0], node.results[0]
    group.place({}, held)
    perm, shape, read = node.attrs["perm"], group.shape(source), group.tensors[source]
    finish = group.finisher(held)
    last = len(perm) - 1
    across = [axis for axis in range(last) if axis != perm[-1]]

    def place(at: Sequence[Index], row: Index, column: Index) -> list[Index]:
        where = dict(zip((*across, perm[-1], last), (*at, row, column), strict=True))
        return [where[axis] for axis in range(len(perm))]

    def load(at: Sequence[Index], row: Index, column: Index) -> Expr:
        return read(*place(at, row, column))

    def store(at: Sequence[Index], row: Index, column: Index, value: Expr) -> None:
        index = place(at, row, column)
        finish([index[axis] for axis in perm], value)

    outer, machine = [shape[axis] for axis in across], Vectors.of(group.target)
    rows, columns = shape[perm[-1]], shape[-1]
    lanes = lanes_of(machine, source.dtype)
    if may_interleave(rows, columns, source.dtype, lanes):
        emit_interleaved(group.k, lanes, source.dtype, outer, int(rows), columns, load, store)
    elif may_interleave(columns, rows, source.dtype, lanes):
        emit_interleaved(
            group.k, lanes, source.dtype, outer, int(columns), rows, lambda at, i, j: load(at, j, i),
            lambda at, i, j, value: store(at, j, i, value), apart=True,
        )  # fmt: skip
    else:
        emit_transposed(group.k, machine, source.dtype, outer, rows, columns, load, store)
    return {}


RULE = Rule("transpose", declines, emit)
