"""The graph IR: typed immutable dataflow, one table of operators, a text form and an interpreter.

Functions that carry their module's name are imported from it: `tilewright.ir.show.show`, `tilewright.ir.parse.parse`,
`tilewright.ir.verify.verify`; the reference interpreter is `tilewright.ir.interpret.run`.
"""

from __future__ import annotations

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
