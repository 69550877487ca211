"""Discrete Fourier transforms as products with matrices of sines and cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Value
from tilewright.ir.interpret import run

_LARGEST = 1 << 22  # elements of a matrix that is kept as a constant


@dataclass(frozen=True)
class Transform:
    """A transform of `length` points. `onesided` has the spectrum of a real signal hold its first half only."""

    length: Dim
    inverse: bool = False
    onesided: bool = False

    @property
    def kept(self) -> Dim:
        """How many points the result has."""
        half = self.onesided and not self.inverse
        return dims.add(dims.floordiv(self.length, 2), 1) if half else self.length

    @property
    def parts(self) -> int:
        """1 where the result is real."""
        return 1 if self.onesided and self.inverse else 2


def transformed(c: Call, x: Value, t: Transform) -> Value:
    """The transforms of x [L, n, real and imaginary part], cut off or continued with zeros: [L, kept, parts]."""
    lines, count, parts = x.shape
    size = dims.product([count, parts, t.kept, t.parts])
    near, _ = factors(t.length)
    if isinstance(size, int) and size > _LARGEST and near > 1 and t.parts == 2:
        return split(c, x, t)
    matrix = weights(c, t, count, c.static(parts, "a number of parts"), x.dtype)
    rows = c.reshape(x, (lines, dims.product([count, parts])))
    return c.reshape(c.apply("matmul", rows, matrix), (lines, t.kept, t.parts))


def weights(c: Call, t: Transform, count: Dim, parts: int, dtype: str) -> Value:
    """The matrix [count * parts, kept * t.parts]: a constant, unless it is huge or its size is not known."""
    made = computed_weights(c, t, count, parts, dtype)
    size = made.type.size
    if not isinstance(size, int) or size > _LARGEST or not isinstance(t.length, int):
        return made
    return c.constant(run(Graph((), (made,), ("weights",)), ())[0])


def computed_weights(c: Call, t: Transform, count: Dim, parts: int, dtype: str) -> Value:
    row, column = (along(c, size, axis) for size, axis in ((count, 0), (t.kept, 2)))
    length = c.size_value(t.length)
    turns = c.cast(c.apply("mod", c.apply("mul", row, column), length), "float64")
    angle = c.apply("div", c.apply("mul", turns, 2 * math.pi), c.cast(length, "float64"))
    shares = share(c, t, row, length)
    cosine, sine = (c.apply("mul", c.apply(name, angle), shares) for name in ("cos", "sin"))
    minus = c.apply("neg", sine)
    ahead, back = (sine, minus) if t.inverse else (minus, sine)
    columns = ((cosine, ahead), (back, cosine))[:parts]
    blocks = [c.apply("concat", *pair, axis=3) if t.parts == 2 else pair[0] for pair in columns]
    whole = c.apply("concat", *blocks, axis=1) if parts == 2 else blocks[0]
    shape = (dims.product([count, parts]), dims.product([t.kept, t.parts]))
    return c.cast(c.reshape(whole, shape), dtype)


def along(c: Call, size: Dim, axis: int) -> Value:
    """0, 1, 2 ... along one of four axes."""
    shape = [1, 1, 1, 1]
    numbers = c.apply("range", start=0, step=1, size=size, dtype="int64")
    return c.reshape(numbers, (*shape[:axis], size, *shape[axis + 1 :]))


def share(c: Call, t: Transform, row: Value, length: Value) -> Value:
    """The factor of each point: 0 beyond the length, 2 for one that stands for its mirror image too."""
    halved = t.inverse and t.onesided
    limit = c.size_value(dims.add(dims.floordiv(t.length, 2), 1)) if halved else length
    factor = c.cast(c.apply("less", row, limit), "float64")
    if halved:
        twice = c.apply("mul", row, 2)
        alone = c.apply("logical_or", c.apply("equal", row, 0), c.apply("equal", twice, length))
        factor = c.apply("mul", factor, c.apply("sub", 2.0, c.cast(alone, "float64")))
    return c.apply("div", factor, c.cast(length, "float64")) if t.inverse else factor


def factors(length: Dim) -> tuple[int, int]:
    """Two numbers as near to each other as may be, whose product is the length; 1 and 1 if it is not known."""
    if not isinstance(length, int):
        return 1, 1
    low = next(k for k in range(math.isqrt(length), 0, -1) if length % k == 0)
    return low, length // low


def split(c: Call, x: Value, t: Transform) -> Value:
    """A long transform as two rounds of shorter ones (Cooley and Tukey, 1965)."""
    length = c.static(t.length, "a length")
    a, b = factors(length)
    lines, whole = x.shape[0], replace(t, onesided=False)
    x = turned(c, complete(c, x, length), (lines, a, b))
    first = c.reshape(
        transformed(c, c.reshape(x, (dims.product([lines, b]), a, 2)), replace(whole, length=a)), (lines, b, a, 2)
    )
    second = turned(c, twisted(c, first, length, inverse=t.inverse), (lines, b, a))
    found = transformed(c, c.reshape(second, (dims.product([lines, a]), b, 2)), replace(whole, length=b))
    result = c.reshape(turned(c, found, (lines, a, b)), (lines, length, 2))
    return c.slice(result, 1, 0, t.kept)


def turned(c: Call, x: Value, shape: Sequence[Dim]) -> Value:
    """x as [*shape, 2] with its two middle axes exchanged."""
    return c.transpose(c.reshape(x, (*shape, 2)), (0, 2, 1, 3))


def complete(c: Call, x: Value, length: int) -> Value:
    """Complex, and `length` points long."""
    count = c.static(x.shape[1], "a number of points")
    x = c.slice(x, 1, 0, min(count, length))
    after = (0, max(length - count, 0), 2 - c.static(x.shape[2], "a number of parts"))
    return c.apply("pad", x, before=(0, 0, 0), after=after, mode="constant", value=0) if any(after) else x


def twisted(c: Call, x: Value, length: int, *, inverse: bool) -> Value:
    """x [L, b, a, 2] with element (j, k) turned by j * k of `length` parts of a circle."""
    _, b, a, _ = x.shape
    turns = np.outer(np.arange(b), np.arange(a)) * (2j if inverse else -2j) * math.pi / length
    circle = np.exp(turns).reshape(1, b, a, 1)
    cosine, sine = (c.constant(part, x.dtype) for part in (circle.real, circle.imag))
    real, imaginary = (c.slice(x, 3, part, 1) for part in (0, 1))
    return c.apply(
        "concat",
        c.apply("sub", c.apply("mul", real, cosine), c.apply("mul", imaginary, sine)),
        c.apply("add", c.apply("mul", real, sine), c.apply("mul", imaginary, cosine)),
        axis=3,
    )
