"""Graph to machine code, and running it.

The names are loaded on first use: a saved model runs without the compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilewright.backends.artifact import load
    from tilewright.backends.build import foresee
    from tilewright.backends.compile import compile_graph
    from tilewright.backends.compiled import CompiledModel
    from tilewright.backends.kept import Kept
    from tilewright.backends.target import Target, parse_target

__all__ = ["CompiledModel", "Kept", "Target", "compile_graph", "foresee", "load", "parse_target"]

_HOMES = {
    "CompiledModel": "compiled",
    "Kept": "kept",
    "Target": "target",
    "compile_graph": "compile",
    "foresee": "build",
    "load": "artifact",
    "parse_target": "target",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewright.backends' has no attribute {name!r}")
    return getattr(import_module(f"tilewright.backends.{_HOMES[name]}"), name)
