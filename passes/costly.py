"""What operators cost an element: whether one is better computed once than for each element that reads it."""

from __future__ import annotations

from tilewright.ir.graph import Node, Value

TRIGONOMETRIC = {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "tanh"}
# Long expressions: TVM takes minutes to lower one of them inside another, so a kernel has one at most.
LONG = frozenset({"exp", "log", "tanh", "erf", "sigmoid", "gelu", "rational_sigmoid", "rational_tanh"})
COSTLY = TRIGONOMETRIC | LONG | {"sqrt", "rsqrt", "reciprocal", "pow", "div", "mod"}


def is_costly(node: Node) -> bool:
    """Better computed once than for each element that reads it."""
    if node.op.name == "div" and node.results[0].dtype == "float32" and is_scalar(node.inputs[1]):
        return False  # a product and a multiply-add
    return node.op.name in COSTLY or (node.op.name == "resize" and node.attrs["mode"] != "nearest")


def is_scalar(value: Value) -> bool:
    return value.data is not None and value.data.size == 1
