"""The least and the greatest number that an integer value can hold, as far as its making tells."""

from __future__ import annotations

import numpy as np

from tilewright.ir.graph import Value

LIMITS = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int8", "uint8", "int16", "uint16")}
_MOVES = ("expand", "reshape", "slice", "transpose")  # whose elements are those of the input, unlike a cubic resize

Bounds = tuple[int, int]


def bounds(value: Value) -> Bounds | None:
    """Those of a value; None: they are not known."""
    if value.data is not None:
        return (int(value.data.min()), int(value.data.max())) if value.data.size else (0, 0)
    if value.dtype in LIMITS:
        return LIMITS[value.dtype]
    node = value.node
    if node is None:
        return None
    if node.op.name == "cast" and node.inputs[0].dtype in LIMITS:
        return LIMITS[node.inputs[0].dtype]
    if node.op.name == "sub":
        left, right = map(bounds, node.inputs)
        return None if left is None or right is None else (left[0] - right[1], left[1] - right[0])
    return bounds(node.inputs[0]) if node.op.name in _MOVES else None
