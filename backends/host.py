"""What cannot be compiled runs its operator's numpy reference: nodes of a program that call back to the host."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tilewright.backends.program import HostCall, Program
from tilewright.backends.runtime import HostFunction
from tilewright.backends.values import Array

if TYPE_CHECKING:
    from tilewright.ir.graph import Graph


def host_functions(program: Program) -> list[HostFunction]:
    """The function of each host call, in order. Reading a node waits for its first run: it needs sympy."""
    return [_function(step) for step in program.host_calls()]


def _function(step: HostCall) -> HostFunction:
    read = functools.cache(lambda: _read(step.text))

    def run(arrays: Sequence[Array], numbers: Sequence[int]) -> Sequence[Array]:
        from tilewright.ir import interpret

        return interpret.run(read(), arrays, dict(zip(step.symbols, map(int, numbers), strict=True)))

    return run


def _read(text: str) -> Graph:
    from tilewright.ir.parse import parse

    return parse(text)
