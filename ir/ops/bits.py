"""Elements read as another type of the same width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype
from tilewright.ir.types import NUMERIC, TensorType, numpy_dtype

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

PLAIN = (*NUMERIC, "bool")


def _infer_bitcast(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    to = attrs["to"]
    require_dtype(types[0], PLAIN, "the input")
    require(to in PLAIN, f"to is {to!r}, which is not one of {', '.join(PLAIN)}")
    old, new = (numpy_dtype(dtype).itemsize for dtype in (types[0].dtype, to))
    require(old == new, f"{types[0].dtype} has {old} bytes, but {to} has {new}")
    return (types[0].with_dtype(to),)


def _ref_bitcast(attrs: Attrs, x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(x.shape).view(numpy_dtype(attrs["to"]))


def _compute_bitcast(b: Any, node: Node, x: Any) -> Any:
    to = node.attrs["to"]
    return b.stage(x.shape, to, lambda *index: b.reinterpret(x(*index), to))


def _samples_bitcast() -> list[Sample]:
    pairs = [("float32", "int32"), ("int64", "float64"), ("uint16", "float16"), ("int16", "bfloat16")]
    pairs += [("bfloat16", "uint16"), ("int8", "uint8")]
    numbers = np.array([0.0, 1.0, 2.0, 100.0, 1.0])
    return [
        *(Sample((numbers.astype(numpy_dtype(old)),), {"to": new}) for old, new in pairs),
        Sample((np.array([[True], [False]]),), {"to": "uint8"}),
        Sample((np.array(1, np.uint8),), {"to": "bool"}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "bitcast",
        Kind.ELEMENTWISE,
        _infer_bitcast,
        _ref_bitcast,
        _compute_bitcast,
        (1, 1),
        {"to": REQUIRED},
        _samples_bitcast,
        "The same bits as another element type of the same width.",
    ),
)
