"""Results that are written past the caches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Built
from tilewright.backends.kernels.elementwise import emit_streamed, streams
from tilewright.backends.kernels.loops import Loops


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("shape", [(5,), (10_001,), (40_000,), (3, 4096), (2, 3, 8256), (300, 64)])
def test_streamed(shape: tuple[int, ...], dtype: str) -> None:
    k = Loops("twice")
    x, y = k.buffer("x", shape, dtype), k.buffer("y", shape, dtype)
    emit_streamed(k, NATIVE, shape, lambda index: x[tuple(index)] + x[tuple(index)], y)
    values = (np.arange(np.prod(shape)) % 50).astype(dtype).reshape(shape)
    np.testing.assert_array_equal(Built(k)(values, np.full(shape, 77, dtype)), 2 * values)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1 << 24,), True), ((1 << 23,), False), ((64, 1 << 18), True), ((1 << 14, 1 << 10), False),
        ((64, (1 << 18) + 1), False), ((), False), ((1 << 24, 0), False),
    ],
)  # fmt: skip
def test_what_streams(shape: tuple[int, ...], expected: bool) -> None:
    """Large results of long rows that begin at whole lines, if all sizes are known."""
    assert streams(shape, 4) is expected
    assert not streams((Loops("sizes").dim("n"), *shape), 4)
