"""Kernels of results without elements: there is nothing to compute."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return "" if all(0 in value.shape for value in group.body.outputs) else "has elements"


def emit(group: Group) -> Mapping[Value, Layout]:
    group.place({}, group.anchor.results[0] if group.anchor else None)
    return {}


RULE = Rule("nothing", declines, emit)
