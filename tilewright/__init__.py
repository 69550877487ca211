"""Tilewright compiles neural networks to tuned native code, checked against the original.

    import tilewright as tw
    m = tw.compile("model.onnx")
    y = m(x)

The public names are loaded on first use: importing the package is instant, and loading a saved model never imports the
compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilewright.api import check, compile, load, read
    from tilewright.ir import errors
    from tilewright.ir.graph import Graph

__version__ = "0.1.0"
__all__ = ["Graph", "__version__", "check", "compile", "errors", "load", "read"]

_HOMES = {
    "Graph": "tilewright.ir.graph",
    "check": "tilewright.api",
    "compile": "tilewright.api",
    "load": "tilewright.api",
    "read": "tilewright.api",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name == "errors":
        return import_module("tilewright.ir.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
