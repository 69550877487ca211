"""Random numbers: a hash of each element's place and a key."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_sizes
from tilewright.ir.ops.reshape import flatten
from tilewright.ir.types import TensorType, numpy_dtype

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

_WORD = 0xFFFFFFFF
_BITS = {"float32": 23, "float64": 52}  # one less than the fraction holds, so that no number is rounded up to 1


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    result = TensorType(attrs["dtype"], attrs["shape"])
    require_dtype(result, tuple(_BITS), "the result")
    require_sizes(attrs["shape"], "the shape")
    require(attrs["seed"] is None or isinstance(attrs["seed"], float), "seed must be a float, or None")
    return (result,)


def _keys(attrs: Attrs) -> tuple[int, int]:
    """Two words from the seed and the stream, or from the system where there is no seed."""
    if attrs["seed"] is None:
        first, second = np.random.SeedSequence().generate_state(2).tolist()
        return first, second
    text = f"{attrs['seed']!r} {attrs['stream']}".encode()
    return zlib.crc32(text), zlib.crc32(b"second " + text)


def _mixed(b: Any, x: Any) -> Any:
    """A word whose bits all depend on all bits of x, by a function without short cycles or fixed patterns.

    The multipliers are of C. Wellons, "Prospecting for hash functions" (2018). They fit 31 bits, so that int64 holds
    the products.
    """
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        x = b.let(b.bitwise_and(b.bitwise_xor(x, b.shift_right(x, _word(b, shift))) * factor, _word(b, _WORD)))
    return b.let(b.bitwise_xor(x, b.shift_right(x, _word(b, 15))))


def _word(b: Any, value: int) -> Any:
    return b.const(value, "int64")


def _number(b: Any, place: Any, first: Any, second: Any, dtype: str) -> Any:
    """The number in (0, 1) of the element at a flat place."""
    low = _mixed(b, b.bitwise_xor(_mixed(b, b.bitwise_xor(b.bitwise_and(place, _word(b, _WORD)), first)), second))
    bits = b.shift_right(low, _word(b, 32 - _BITS["float32"]))
    if dtype == "float64":
        high = _mixed(b, b.bitwise_xor(low, first))
        bits = b.shift_left(low, _word(b, _BITS[dtype] - 32)) + b.shift_right(high, _word(b, 64 - _BITS[dtype]))
    scale = b.const(2.0 ** -_BITS[dtype], dtype)
    return (b.cast(bits, dtype) + b.const(0.5, dtype)) * scale


class _Words:
    """The few operations above on numpy's words."""

    bitwise_and, bitwise_xor = staticmethod(np.bitwise_and), staticmethod(np.bitwise_xor)
    shift_left, shift_right = staticmethod(np.left_shift), staticmethod(np.right_shift)

    def let(self, x: Any) -> Any:
        return x

    def const(self, value: float, dtype: str) -> Any:
        return numpy_dtype(dtype).type(value)

    def cast(self, x: Any, dtype: str) -> Any:
        return x.astype(numpy_dtype(dtype))


def _ref(attrs: Attrs, *order: Array) -> Array:
    places = np.arange(int(np.prod(attrs["shape"], dtype=np.int64)), dtype=np.int64)
    first, second = map(np.int64, _keys(attrs))
    numbers = _number(_Words(), places, first, second, attrs["dtype"])
    return np.asarray(numbers).reshape(attrs["shape"])


def _compute(b: Any, node: Node, *order: Any) -> Any:
    attrs, shape = node.attrs, b.shape(node.results[0])

    def element(*index: Any) -> Any:
        place = b.let(b.cast(flatten(index, shape), "int64"))
        if attrs["seed"] is None:
            clock = b.let(b.clock())
            keys = (b.bitwise_and(clock, _word(b, _WORD)), b.bitwise_xor(_word(b, zlib.crc32(b"node")), clock))
            first, second = (b.let(b.bitwise_and(key, _word(b, _WORD))) for key in keys)
        else:
            first, second = (_word(b, key) for key in _keys(attrs))
        return _number(b, place, first, second, attrs["dtype"])

    return b.stage(shape, attrs["dtype"], element)


def _samples() -> list[Sample]:
    return [
        Sample((), {"shape": (3, 4), "dtype": "float32", "seed": 7.0}),
        Sample((), {"shape": (2, 5), "dtype": "float64", "seed": 0.5, "stream": 1}),
        Sample((), {"shape": (), "dtype": "float32", "seed": -1.0}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "random",
        Kind.SERIAL,
        _infer,
        _ref,
        _compute,
        (0, None),
        {"shape": REQUIRED, "dtype": REQUIRED, "seed": None, "stream": 0, "node": ""},
        _samples,
        # A kernel of its own: what read it twice would draw twice.
        "Uniform random numbers between 0 and 1, neither of which occurs. With a seed they are the same in every run, "
        "and others in each stream. `node` tells apart what draws numbers of its own. Inputs are not read: symbols "
        "come from them.",
    ),
)
