"""Groups without a reduction: each element by itself, vectorised along the innermost axis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.collapse import collapse
from tilewright.backends.kernels.elementwise import emit_pointwise, emit_streamed
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.stream import streams
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return "has a contraction or a reduction" if group.anchor is not None else ""


def emit(group: Group) -> Mapping[Value, Layout]:
    group.body = collapse(group.body)
    group.place({})
    for value in group.body.outputs:
        _emit_output(group, value)
    return {}


def _emit_output(group: Group, value: Value) -> None:
    machine, shape, out = Vectors.of(group.target), group.shape(value), group.outputs[value]
    if streams(shape, out):
        emit_streamed(group.k, machine, shape, group.tensors[value], out)
    else:
        emit_pointwise(group.k, machine, shape, partial(group.store, value))


RULE = Rule("pointwise", declines, emit)
