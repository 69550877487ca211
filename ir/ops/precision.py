"""Which element type sums are made in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, dtype_name


def accumulator(dtype: str) -> str:
    """Kernels add half-precision numbers up in float32, everything else in its own type."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def narrowed(b: Any, tensor: Any, dtype: str) -> Any:
    """`tensor` in element type `dtype`."""
    if tensor.dtype == dtype:
        return tensor
    return b.stage(tensor.shape, dtype, lambda *index: b.cast(tensor(*index), dtype))


def exact(array: Array) -> Array:
    """Floats as float64, so that the reference rounds once only, at its end; integers as they are."""
    return array.astype(np.float64) if dtype_name(array.dtype) in FLOATS else array
