"""Running sums and products: in order along their axis, the other axes shared among the threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Index
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.precision import accumulator

FOLDS = {"cumsum": "sum", "cumprod": "prod"}
_COST = 64.0  # of a row, in elements copied


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name in FOLDS else "is not a running sum"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    axis, shape = node.attrs["axis"], group.shape(node.results[0])

    def walk(others: Sequence[Index]) -> None:
        _walk(group, node, shape[axis], lambda i: (*others[:axis], i, *others[axis:]))

    one_by_one = Vectors(1, Vectors.of(group.target).registers)
    emit_pointwise(group.k, one_by_one, (*shape[:axis], *shape[axis + 1 :]), walk, cost=_COST)
    return {}


def _walk(group: Group, node: Node, extent: Index, place: Callable[[Index], Sequence[Index]]) -> None:
    """The totals along one row, whose element i is at `place(i)`."""
    k, b, x, out = group.k, group.b, group.tensors[node.inputs[0]], group.outputs[node.results[0]]
    kind, dtype = FOLDS[node.op.name], accumulator(x.dtype)
    total = k.local("total", (1,), dtype)
    k.store(total, (0,), b.identity(kind, dtype))
    with k.serial(extent) as step:
        at = place(extent - 1 - step if node.attrs["reverse"] else step)
        before = k.let("before", total[0])
        after = k.let("after", b.folds[kind](before, b.cast(x(*at), dtype)))
        k.store(total, (0,), after)
        k.store(out, at, b.cast(before if node.attrs["exclusive"] else after, x.dtype))


RULE = Rule("scan", declines, emit)
