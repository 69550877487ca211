"""Decision trees: each row and tree by itself, step by step from the root; a leaf goes to itself: no step branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index, index
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value

_COST = 8.0  # of a step, in elements copied


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "tree_leaves" else "has no trees"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    width = group.shape(node.inputs[0])[1]
    if not isinstance(width, int):
        needed = node.attrs["features"]
        group.k.require(index(width) >= needed, f"tree_leaves: the trees read {needed} features, which are too many")
    one_by_one = Vectors(1, Vectors.of(group.target).registers)
    cost = _COST * max(1, node.attrs["depth"])
    emit_pointwise(group.k, one_by_one, group.shape(node.results[0]), lambda at: _walk(group, node, at), cost=cost)
    return {}


def _walk(group: Group, node: Node, at: Sequence[Index]) -> None:
    """The leaf of one tree for one row."""
    k, b = group.k, group.b
    x, feature, threshold, test, yes, no, missing, roots = (group.tensors[v] for v in node.inputs)
    row, tree = at
    count = int(node.inputs[1].shape[0])
    held = k.local("place", (1,), "int32")

    def inside(place: Expr) -> Expr:
        return b.maximum(b.minimum(b.cast(place, "int64"), count - 1), 0)

    k.store(held, (0,), roots(tree))
    with k.serial(node.attrs["depth"]):
        place = k.let("at", inside(held[0]))
        column = b.maximum(b.minimum(b.cast(feature(place), "int64"), index(x.shape[1]) - 1), 0)
        value, limit, sign = k.let("x", x(row, column)), k.let("limit", threshold(place)), k.let("sign", test(place))
        outcomes = (value <= limit, value < limit, value >= limit, value > limit, b.equal(value, limit))
        holds = b.not_equal(value, limit)
        for number, outcome in enumerate(outcomes):
            holds = b.select(b.equal(sign, number), outcome, holds)
        goes = b.logical_or(holds, b.logical_and(b.isnan(value), missing(place)))
        k.store(held, (0,), b.select(goes, yes(place), no(place)))
    k.store(group.outputs[node.results[0]], at, held[0])


RULE = Rule("trees", declines, emit)
