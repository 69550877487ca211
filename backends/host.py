"""What cannot be compiled runs its operator's numpy reference: nodes of a program that call back to the host."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tilewright.backends.program import HostCall, Program
from tilewright.backends.runtime import Array, HostFunction

if TYPE_CHECKING:
    from tilewright.ir.graph import Graph


def host_functions(program: Program) -> list[HostFunction]:
    """The function of each host call, in order. Reading a node waits for its first run: it needs sympy."""
    return [_function(step) for step in program.host_calls()]


def _function(step: HostCall) -> HostFunction:
    read = functools.cache(lambda: _read(step.text))

    def run(*values: Array | int) -> Sequence[Array]:
        from tilewright.ir import interpret

        count = len(step.inputs)
        sizes = {name: int(value) for name, value in zip(step.symbols, values[count:], strict=True)}
        return interpret.run(read(), [np.asarray(v) for v in values[:count]], sizes)

    return run


def _read(text: str) -> Graph:
    from tilewright.ir.parse import parse

    return parse(text)
