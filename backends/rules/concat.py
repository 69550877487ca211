"""Concatenation, with the elementwise operators before and after it."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.joined import Piece, are_short, emit_in_rows, emit_one_by_one
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
    group.place({}, joined)
    finish, machine = group.finisher(joined), Vectors.of(group.target)
    axis: int = joint.attrs["axis"]
    pieces = [Piece(group.shape(operand), group.tensors[operand]) for operand in joint.inputs]
    if are_short(pieces, axis):
        emit_in_rows(group.k, machine, group.shape(joined), axis, pieces, finish)
    else:
        emit_one_by_one(group.k, machine, axis, pieces, finish)
    return {}


RULE = Rule("concat", declines, emit)
