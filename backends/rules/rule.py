"""What a schedule rule is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilewright.backends.kernels.group import Group, Layout
from tilewright.ir.graph import Value


@dataclass(frozen=True)
class Rule:
    """A way to turn a fused group into loops.

    `declines(group)` says why the rule does not fit, or nothing ("") where it does.
    `emit(group)` calls `group.place` with the layouts it wants for weights, emits the loops, and returns those layouts.
    """

    name: str
    declines: Callable[[Group], str]
    emit: Callable[[Group], Mapping[Value, Layout]]
