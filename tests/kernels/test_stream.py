"""Results that are written past the caches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Built
from tilewright.backends.kernels.elementwise import emit_streamed
from tilewright.backends.kernels.loops import Loops
from tilewright.backends.kernels.stream import streams


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("shape", [(5,), (10_001,), (40_000,), (3, 4096), (2, 3, 8256), (300, 64)])
def test_streamed(shape: tuple[int, ...], dtype: str) -> None:
    k = Loops("twice")
    x, y = k.buffer("x", shape, dtype), k.buffer("y", shape, dtype)
    emit_streamed(k, NATIVE, shape, lambda *index: x[index] + x[index], y)
    values = (np.arange(np.prod(shape)) % 50).astype(dtype).reshape(shape)
    np.testing.assert_array_equal(Built(k)(values, np.full(shape, 77, dtype)), 2 * values)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((1 << 24,), "float32", True), ((1 << 23,), "float32", False), ((1 << 23,), "int64", True),
        ((64, 1 << 18), "float32", True), ((1 << 14, 1 << 10), "float32", True), ((1 << 14, 511), "float32", False),
        ((64, (1 << 18) + 1), "float32", False), ((), "float32", False), ((1 << 24, 0), "float32", False),
        ((1 << 28,), "int8", False),
    ],
)  # fmt: skip
def test_what_streams(shape: tuple[int, ...], dtype: str, expected: bool) -> None:
    """Large results whose rows begin at whole lines, if all sizes are known and their elements are wide."""
    k = Loops("sizes")
    assert streams(shape, k.buffer("y", shape, dtype)) is expected
    dynamic = (k.dim("n"), *shape)
    assert not streams(dynamic, k.buffer("z", dynamic, dtype))
