"""Concatenation: each operand is copied by loops of its own, so that no element asks where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Index
from tilewright.backends.kernels.ranges import named
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value


def _joint(group: Group) -> Node | None:
    joints = [n for n in group.body.nodes if n.op.name == "concat"]
    return joints[0] if len(joints) == 1 else None


def declines(group: Group) -> str:
    if group.anchor is not None or _joint(group) is None:
        return "is not one concatenation"
    return ""


def emit(group: Group) -> Mapping[Value, Layout]:
    joint = _joint(group)
    assert joint is not None
    joined = joint.results[0]
    group.place({}, held=joined)
    finish = group.finisher(joined)
    axis: int = joint.attrs["axis"]
    offset: Index = 0
    for operand in joint.inputs:
        shape, tensor = group.shape(operand), group.tensors[operand]

        def copy(index: Sequence[Index], tensor=tensor, offset=offset) -> None:  # type: ignore[no-untyped-def]
            finish([i + offset if a == axis else i for a, i in enumerate(index)], tensor(*index))

        emit_pointwise(group.k, Vectors.of(group.target), shape, copy)
        offset = named(group.k, "offset", offset + shape[axis])
    return {}


RULE = Rule("concat", declines, emit)
