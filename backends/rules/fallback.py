"""Whatever no other rule takes: one output element after the other, all threads at work, reductions in plain loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.expr import Reader, Reduction
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.ranges import nested
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    if group.anchor is None or group.anchor.op.compute is None:
        return "has no reduction"
    return "" if len(group.anchor.results) == 1 else "has several results"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({})
    *early, last = (stage for stage in group.stages[node] if isinstance(stage, Reduction))
    for fold in early:
        _make_all(group, fold)
    made = group.tensors[node.results[0]]
    definition = made.reader
    finish = group.finisher(node.results[0])

    def visit(index: Sequence[Index]) -> None:
        last.bind(_reader(_folded(group, last, index)))
        if definition:
            made.bind(definition)  # `finish` has bound it to the element before
        finish(index, made(*index))

    _each(group, group.shape(node.results[0]), visit)
    return {}


def _each(group: Group, shape: Sequence[Index], visit: Callable[[Sequence[Index]], None]) -> None:
    scalar = Vectors(1, Vectors.of(group.target).registers)
    emit_pointwise(group.k, scalar, shape, visit, cost=16.0)


def _make_all(group: Group, fold: Reduction) -> None:
    """Make a reduction that others read, in memory of its own."""
    buffer = group.k.scratch("made", fold.shape, fold.dtype)
    _each(group, fold.shape, lambda index: group.k.store(buffer, index, _folded(group, fold, index)))
    fold.bind_buffer(buffer)


def _folded(group: Group, fold: Reduction, index: Sequence[Index]) -> Expr:
    """The element of a reduction at `index`."""
    total = group.k.local("total", (1,), fold.dtype)
    group.k.store(total, (0,), fold.initial)
    with nested(group.k, fold.extents_at(index)) as at:
        group.k.store(total, (0,), fold.fold(total[0], fold.term(tuple(index), at)))
    return group.k.let("folded", total[0])


def _reader(value: Expr) -> Reader:
    return lambda *index: value


RULE = Rule("fallback", declines, emit)
