"""The greatest elements along an axis: a few by insertion, many by sorting; the other axes shared among the threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index, index
from tilewright.backends.kernels.ordering import FEW, Row, insert, merge_sort
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.precision import accumulator

_COST = 1000.0  # of a row, in elements copied
Place = Callable[[Index], Sequence[Index]]


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "top_k" else "does not choose the greatest"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    axis, shape, count = node.attrs["axis"], group.shape(node.inputs[0]), group.b.dim(node.attrs["k"])
    if not (isinstance(count, int) and isinstance(shape[axis], int)):
        group.k.require(index(count) <= index(shape[axis]), f"top_k: k is greater than the size of axis {axis}")

    def choose(others: Sequence[Index]) -> None:
        _choose(group, node, lambda i: (*others[:axis], i, *others[axis:]))

    one_by_one = Vectors(1, Vectors.of(group.target).registers)
    emit_pointwise(group.k, one_by_one, (*shape[:axis], *shape[axis + 1 :]), choose, cost=_COST)
    return {}


def _choose(group: Group, node: Node, place: Place) -> None:
    """The chosen elements of one row, whose element i is at `place(i)`."""
    k, b, x = group.k, group.b, group.tensors[node.inputs[0]]
    values, places = (group.outputs[r] for r in node.results)
    count = group.b.dim(node.attrs["k"])

    def read(i: Index) -> Expr:
        return b.cast(x(*place(i)), accumulator(x.dtype))

    row = Row(k, b, x.shape[node.attrs["axis"]], read, node.attrs["largest"])

    def inserted() -> None:
        insert(row, count, lambda j, i: k.store(places, place(j), i), lambda j: places[tuple(place(j))])

    def sorted_() -> None:
        buffer, side = merge_sort(row)
        with k.serial(count) as j:
            k.store(places, place(j), buffer[side, j])

    if isinstance(count, int):
        (inserted if count <= FEW else sorted_)()
    else:
        k.branch(count <= FEW, inserted, sorted_)
    with k.serial(count) as j:
        k.store(values, place(j), x(*place(places[tuple(place(j))])))


RULE = Rule("top_k", declines, emit)
