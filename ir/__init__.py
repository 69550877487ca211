"""The graph IR: typed immutable dataflow, one table of operators, a text form and an interpreter.

Functions that carry their module's name are imported from it: `tilewright.ir.show.show`, `tilewright.ir.parse.parse`,
`tilewright.ir.verify.verify`; the reference interpreter is `tilewright.ir.interpret.run`.

The public names are loaded on first use: a saved model runs without the graph.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilewright.ir.dims import Dim, symbol
    from tilewright.ir.graph import Graph, Node, Value, apply, apply_op, constant, input_value
    from tilewright.ir.op import Array, Attrs, Kind, Op
    from tilewright.ir.types import TensorType, numpy_dtype, tensor, type_of

__all__ = [
    "Array",
    "Attrs",
    "Dim",
    "Graph",
    "Kind",
    "Node",
    "Op",
    "TensorType",
    "Value",
    "apply",
    "apply_op",
    "constant",
    "input_value",
    "numpy_dtype",
    "symbol",
    "tensor",
    "type_of",
]

_HOMES = {
    "Dim": "tilewright.ir.dims",
    "symbol": "tilewright.ir.dims",
    "Graph": "tilewright.ir.graph",
    "Node": "tilewright.ir.graph",
    "Value": "tilewright.ir.graph",
    "apply": "tilewright.ir.graph",
    "apply_op": "tilewright.ir.graph",
    "constant": "tilewright.ir.graph",
    "input_value": "tilewright.ir.graph",
    "Array": "tilewright.ir.op",
    "Attrs": "tilewright.ir.op",
    "Kind": "tilewright.ir.op",
    "Op": "tilewright.ir.op",
    "TensorType": "tilewright.ir.types",
    "numpy_dtype": "tilewright.ir.types",
    "tensor": "tilewright.ir.types",
    "type_of": "tilewright.ir.types",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewright.ir' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
