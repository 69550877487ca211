"""Numbers that belong to square matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir.op import Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal
from tilewright.ir.ops.precision import exact
from tilewright.ir.types import FLOATS, TensorType, tensor


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = types
    require_dtype(x, FLOATS, "the input")
    require(x.rank >= 2, f"a matrix has two axes, but the input has {x.rank}")
    require_equal(x.shape[-2], x.shape[-1], "the rows and columns of a square matrix")
    return (x.with_shape(x.shape[:-2]),)


def _ref(attrs: Attrs, x: Array) -> Array:
    return np.asarray(np.linalg.det(exact(x))).astype(x.dtype)


def _samples() -> list[Sample]:
    singular = np.array([[[0, 1, 2], [0, 3, 4], [0, 5, 6]], [[0, 2, 0], [3, 0, 0], [0, 0, 4]]], np.float32)
    return [
        Sample((tensor("float32", 2, 3, 4, 4),)),
        Sample((tensor("float32", "n", "h", "h"),)),
        Sample((tensor("float64", 3, 3),)),
        Sample((tensor("float16", 2, 1, 1),)),
        Sample((singular,)),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "det",
        Kind.SERIAL,
        _infer,
        _ref,
        None,
        (1, 1),
        samples=_samples,
        doc="The determinants of the matrices in the last two axes.",
    ),
)
