"""Windows for signals, and the filters of the mel scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.computed import choose
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def cosines(coefficients: Sequence[float]) -> Callable[[Call], Value]:
    """A window that is the sum of a_i cos(2 pi i n / N), with N = size, or size - 1 where it is not periodic."""

    def window(c: Call) -> Value:
        size = c.size(c[0], "a size")
        period = size if c.flag("periodic", default=True) else dims.sub(size, 1)
        number = c.cast(c.apply("range", start=0, step=1, size=size, dtype="int64"), "float64")
        turns = c.apply("div", c.apply("mul", number, 2 * math.pi), c.cast(c.size_value(period), "float64"))
        total: Value | float = coefficients[0]
        for i, a in enumerate(coefficients[1:], 1):
            wave = c.apply("cos", turns if i == 1 else c.apply("mul", turns, float(i)))
            total = c.apply("add", c.apply("mul", wave, a), total)
        assert isinstance(total, Value)
        return c.cast(total, c.dtype("output_datatype", "float32"))

    return window


def number(c: Call, index: int) -> Value:
    """An input as a float64 scalar."""
    return c.cast(c.reshape(c[index], ()), "float64")


def mel(c: Call, hertz: Value) -> Value:
    """2595 log10(1 + hertz / 700), as O'Shaughnessy (1987) has it."""
    return c.apply("mul", c.apply("log", c.apply("add", c.apply("div", hertz, 700.0), 1.0)), 2595 / math.log(10))


def edges(c: Call, bins: Dim, length: Dim) -> Value:
    """int64[bins + 2]: the spectrogram bins at which the mel filters begin, peak and end."""
    count = dims.add(bins, 2)
    low, high = mel(c, number(c, 3)), mel(c, number(c, 4))
    step = c.apply("div", c.apply("sub", high, low), c.cast(c.size_value(count), "float64"))
    places = c.cast(c.apply("range", start=0, step=1, size=count, dtype="int64"), "float64")
    exponents = c.apply("mul", c.apply("add", c.apply("mul", places, step), low), math.log(10) / 2595)
    hertz = c.apply("mul", c.apply("sub", c.apply("exp", exponents), 1.0), 700.0)
    scaled = c.apply("mul", hertz, c.cast(c.size_value(dims.add(length, 1)), "float64"))
    return c.cast(c.apply("floor", c.apply("div", scaled, number(c, 2))), "int64")


def mel_weight_matrix(c: Call) -> Value:
    """Triangles that rise from one edge to the next and fall to the one after that."""
    bins, length = c.size(c[0], "a number of bins"), c.size(c[1], "a dft_length")
    found, rows = edges(c, bins, length), dims.add(dims.floordiv(length, 2), 1)
    low, peak, high = (c.slice(found, 0, start, bins) for start in range(3))
    row = c.reshape(c.apply("range", start=0, step=1, size=rows, dtype="int64"), (rows, 1))
    falling = inside(c, row, peak, c.apply("sub", high, 1))
    fall = ratio(c, c.apply("sub", high, row), c.apply("sub", high, peak))
    rise = choose_float(
        c, inside(c, row, low, peak), ratio(c, c.apply("sub", row, low), c.apply("sub", peak, low)), 0.0
    )
    alone = c.cast(c.apply("equal", row, peak), "float64")
    rise = choose_float(c, c.apply("equal", low, peak), alone, rise)
    return c.cast(choose_float(c, falling, fall, rise), c.dtype("output_datatype", "float32"))


def inside(c: Call, x: Value, first: Value, last: Value) -> Value:
    return c.apply("logical_and", c.apply("less_equal", first, x), c.apply("less_equal", x, last))


def ratio(c: Call, a: Value, b: Value) -> Value:
    """a / b as float64; 1 in place of 0 below."""
    safe = choose(c, c.apply("equal", b, 0), 1, b)
    return c.apply("div", c.cast(a, "float64"), c.cast(safe, "float64"))


def choose_float(c: Call, condition: Value, a: Value, b: Value | float) -> Value:
    return c.apply("where", condition, a, b if isinstance(b, Value) else c.constant(b, "float64"))


TABLE = {
    "BlackmanWindow": cosines((0.42, -0.5, 0.08)),
    "HammingWindow": cosines((25 / 46, -21 / 46)),
    "HannWindow": cosines((0.5, -0.5)),
    "MelWeightMatrix": mel_weight_matrix,
}
