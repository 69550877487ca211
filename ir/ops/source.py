"""Numbers that depend on sizes only, and numbers that become sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_sizes
from tilewright.ir.types import NUMERIC, TensorType, numpy_dtype

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer_range(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    result = TensorType(attrs["dtype"], (dims.as_dim(attrs["size"]),))
    require_dtype(result, NUMERIC, "the dtype")
    require_sizes(result.shape, "size")
    return (result,)


def _ref_range(attrs: Attrs, *order: Array) -> Array:
    places = np.arange(attrs["size"], dtype=np.int64)
    return np.asarray(attrs["start"] + places * attrs["step"]).astype(numpy_dtype(attrs["dtype"]))


def _compute_range(b: Any, node: Node, *order: Any) -> Any:
    """Computed in int64 or float64, then cast: rounded once, as the reference is."""
    start, step, dtype = node.attrs["start"], node.attrs["step"], node.attrs["dtype"]
    wide = "float64" if isinstance(start, float) or isinstance(step, float) else "int64"

    def scalar(value: Any) -> Any:
        return b.const(value, wide) if isinstance(value, int | float) else b.cast(b.dim(value), wide)

    return b.stage(
        b.shape(node.results[0]), dtype, lambda i: b.cast(scalar(start) + b.cast(i, wide) * scalar(step), dtype)
    )


def _samples_range() -> list[Sample]:
    n = dims.symbol("n")
    return [
        Sample((), {"start": 0, "step": 1, "size": n, "dtype": "int64"}),
        Sample((), {"start": n, "step": -2, "size": 5, "dtype": "int32"}),
        Sample((), {"start": 0.5, "step": 0.25, "size": 6, "dtype": "float32"}),
    ]


def _infer_sizes(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require(isinstance(attrs["dims"], tuple), "dims must be a tuple of sizes")
    return (TensorType("int64", (len(attrs["dims"]),)),)


def _ref_sizes(attrs: Attrs, *order: Array) -> Array:
    return np.array(attrs["dims"], dtype=np.int64)


def _compute_sizes(b: Any, node: Node, *order: Any) -> Any:
    sizes = node.attrs["dims"]

    def element(i: Any) -> Any:
        chosen = b.const(0, "int64")
        for place, size in enumerate(sizes):
            chosen = b.select(b.equal(i, place), b.cast(b.dim(size), "int64"), chosen)
        return chosen

    return b.stage((len(sizes),), "int64", element)


def _samples_sizes() -> list[Sample]:
    n = dims.symbol("n")
    return [Sample((), {"dims": (n, 3, dims.product((2, n)))}), Sample((), {"dims": (7,)}), Sample((), {"dims": ()})]


def _infer_with_sizes(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, numbers = types
    plain = all(hasattr(s, "free_symbols") and s.is_Symbol for s in attrs["symbols"])
    require(plain, "symbols must be a tuple of symbols")
    require(numbers == TensorType("int64", (len(attrs["symbols"]),)), f"{numbers} is not one int64 for each symbol")
    return (x,)


def _ref_with_sizes(attrs: Attrs, x: Array, numbers: Array) -> Array:
    return x


def _samples_with_sizes() -> list[Sample]:
    symbols = (dims.symbol("_a"), dims.symbol("_b"))
    x = np.arange(3, dtype=np.float32)
    return [Sample((x, np.array([2, -1])), {"symbols": symbols}), Sample((x, np.array([], np.int64)), {"symbols": ()})]


ROWS: tuple[Op, ...] = (
    Op(
        "with_sizes",
        Kind.OPAQUE,
        _infer_with_sizes,
        _ref_with_sizes,
        None,
        (2, 2),
        {"symbols": REQUIRED},
        _samples_with_sizes,
        "The first input as it is. From here on, the symbols stand for the numbers in the second.",
    ),
    Op(
        "range",
        Kind.INJECTIVE,
        _infer_range,
        _ref_range,
        _compute_range,
        (0, None),
        {"start": REQUIRED, "step": REQUIRED, "size": REQUIRED, "dtype": REQUIRED},
        _samples_range,
        "start, start + step, start + 2 * step ...: `size` numbers. Inputs are not read: symbols come from them.",
    ),
    Op(
        "sizes",
        Kind.INJECTIVE,
        _infer_sizes,
        _ref_sizes,
        _compute_sizes,
        (0, None),
        {"dims": REQUIRED},
        _samples_sizes,
        "Symbolic sizes as a vector of int64. Inputs are not read: symbols come from them.",
    ),
)
