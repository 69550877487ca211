"""Whatever no other rule takes: one output element after the other, all threads at work, reductions in plain loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.expr import Reader, Reduction
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.ranges import nested
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value


def declines(group: Group) -> str:
    if group.anchor is None:
        return "has no reduction"
    return "" if len(group.anchor.results) == 1 else "has several results"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({})
    made = group.tensors[node.results[0]]
    definition = made.reader
    finish = group.finisher(node.results[0])

    def visit(index: Sequence[Index]) -> None:
        _fold_all(group, node, index)
        if definition:
            made.bind(definition)  # `finish` has bound it to the element before
        finish(index, made(*index))

    scalar = Vectors(1, Vectors.of(group.target).registers)
    emit_pointwise(group.k, scalar, group.shape(node.results[0]), visit, cost=16.0)
    return {}


def _fold_all(group: Group, node: Node, index: Sequence[Index]) -> None:
    """Make the reductions of `node` for the result at `index`."""
    for stage in group.stages[node]:
        if isinstance(stage, Reduction):
            total = group.k.local("total", (1,), stage.dtype)
            group.k.store(total, (0,), stage.initial)
            with nested(group.k, stage.extents) as at:
                group.k.store(total, (0,), stage.fold(total[0], stage.term(tuple(index), at)))
            stage.bind(_reader(group.k.let("folded", total[0])))


def _reader(value: Expr) -> Reader:
    return lambda *index: value


RULE = Rule("fallback", declines, emit)
