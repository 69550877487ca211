"""Scatters: a copy of the data, then the updates one after the other, as several may go to one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.ranges import nested
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.gather import place_in
from tilewright.ir.ops.precision import accumulator

_FOLDS = {"add": "sum", "mul": "prod", "max": "max", "min": "min"}


def declines(group: Group) -> str:
    named = group.anchor is not None and group.anchor.op.name in ("scatter_elements", "scatter_nd")
    return "" if named else "is not a scatter"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    data, _, updates = (group.tensors[v] for v in node.inputs)
    out = group.outputs[node.results[0]]
    emit_pointwise(group.k, Vectors.of(group.target), data.shape, lambda at: group.k.store(out, at, data(*at)))
    with nested(group.k, updates.shape) as place:
        target = _target(group, node, place)
        group.k.store(out, target, _combined(group, node, out[tuple(target)], updates(*place)))
    return {}


def _target(group: Group, node: Node, place: Sequence[Index]) -> list[Index]:
    """Where the update at `place` goes."""
    data, indices = (group.tensors[v] for v in node.inputs[:2])
    if node.op.name == "scatter_elements":
        axis = node.attrs["axis"]
        return [place_in(group.b, indices, place, data.shape[axis]) if a == axis else i for a, i in enumerate(place)]
    lead, depth = len(indices.shape) - 1, int(node.inputs[1].shape[-1])
    named = [place_in(group.b, indices, (*place[:lead], c), data.shape[c]) for c in range(depth)]
    return [*named, *place[lead:]]


def _combined(group: Group, node: Node, old: Expr, new: Expr) -> Expr:
    """What is at a place after an update."""
    if node.attrs["reduction"] == "none":
        return new
    dtype, wide = node.results[0].dtype, accumulator(node.results[0].dtype)
    fold = group.b.folds[_FOLDS[node.attrs["reduction"]]]
    return group.b.cast(fold(group.b.cast(old, wide), group.b.cast(new, wide)), dtype)


RULE = Rule("scatter", declines, emit)
