"""Random numbers: each element by itself, with keys that are made once a call."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value

_COST = 32.0  # of a number, in elements copied


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "random" else "draws no random numbers"


def emit(group: Group) -> Mapping[Value, Layout]:
    clock = group.k.local("clock", (1,), "int64")
    group.k.store(clock, (0,), group.b.clock())
    group.b.hold_clock(clock[0])
    group.place({})
    one_by_one = Vectors(1, Vectors.of(group.target).registers)
    for value in group.body.outputs:
        emit_pointwise(group.k, one_by_one, group.shape(value), partial(group.store, value), cost=_COST)
    return {}


RULE = Rule("random", declines, emit)
