"""Determinants and inverses of square matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir.op import Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal
from tilewright.ir.ops.precision import exact
from tilewright.ir.types import FLOATS, TensorType, tensor


def _infer_det(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = types
    _require_square(x)
    return (x.with_shape(x.shape[:-2]),)


def _infer_inverse(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _require_square(types[0])
    return (types[0],)


def _require_square(x: TensorType) -> None:
    require_dtype(x, FLOATS, "the input")
    require(x.rank >= 2, f"a matrix has two axes, but the input has {x.rank}")
    require_equal(x.shape[-2], x.shape[-1], "the rows and columns of a square matrix")


def _ref_det(attrs: Attrs, x: Array) -> Array:
    return np.asarray(np.linalg.det(exact(x))).astype(x.dtype)


def _ref_inverse(attrs: Attrs, x: Array) -> Array:
    found = np.empty(x.shape, np.float64)
    for place in np.ndindex(x.shape[:-2]):
        found[place] = _inverse(exact(x[place]))
    return found.astype(x.dtype)


def _inverse(matrix: Array) -> Array:
    """NaN where there is none."""
    try:
        return np.asarray(np.linalg.inv(matrix))
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)


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
        _infer_det,
        _ref_det,
        None,
        (1, 1),
        samples=_samples,
        doc="The determinants of the matrices in the last two axes.",
    ),
    Op(
        "inverse",
        Kind.SERIAL,
        _infer_inverse,
        _ref_inverse,
        None,
        (1, 1),
        samples=_samples,
        doc="The inverses of the matrices in the last two axes. A matrix that has none gives one of NaN.",
    ),
)
