"""Groups without a reduction: each element by itself, vectorised along the innermost axis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.collapse import collapse
from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return "has a contraction or a reduction" if group.anchor is not None else ""


def emit(group: Group) -> Mapping[Value, Layout]:
    group.body = collapse(group.body)
    group.place({})
    for value in group.body.outputs:
        emit_pointwise(group.k, Vectors.of(group.target), group.shape(value), partial(group.store, value))
    return {}


RULE = Rule("pointwise", declines, emit)
