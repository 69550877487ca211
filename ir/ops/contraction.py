"""Operators that sum products: matrix multiplication and convolutions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import (
    require,
    require_dtype,
    require_equal,
    require_lengths,
    require_rank,
    require_same_dtype,
)
from tilewright.ir.ops.elementwise import broadcast_reader, broadcast_shapes
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.ops.windows import (
    Window,
    channels_first_view,
    channels_moved_first,
    guarded,
    padded,
    read_window,
    tap_view,
    taps,
    windows,
)
from tilewright.ir.types import NUMERIC, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

WIDER = {"int32": ("int8", "uint8", "int16")}  # what may be multiplied and summed in a wider type


def _infer_matmul(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    a, b = types
    require(a.rank >= 1 and b.rank >= 1, "matmul takes no scalars")
    dtype = _summed_as(types, attrs)
    require_equal(a.shape[-1], b.shape[-2] if b.rank > 1 else b.shape[0], "the summed sizes")
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
    rows = a.shape[-2:-1]
    columns = b.shape[-1:] if b.rank > 1 else ()
    return (a.with_shape((*batch, *rows, *columns)).with_dtype(dtype),)


def _summed_as(operands: Sequence[TensorType], attrs: Attrs) -> str:
    """The dtype of the result: the operands' own, or the one that an attribute names."""
    wide = attrs["dtype"]
    if wide is None:
        require_same_dtype(operands)
        require_dtype(operands[0], NUMERIC, "the first input")
        return operands[0].dtype
    for operand in operands:
        require(operand.dtype in WIDER.get(wide, ()), f"products of {operand.dtype} are not summed as {wide}")
    return str(wide)


def _widened(attrs: Attrs, *operands: Array) -> list[Array]:
    return [x if attrs["dtype"] is None else x.astype(attrs["dtype"]) for x in operands]


def _ref_matmul(attrs: Attrs, a: Array, b: Array) -> Array:
    a, b = _widened(attrs, a, b)
    return np.asarray(exact(a) @ exact(b)).astype(a.dtype)


def _compute_matmul(b: Any, node: Node, x: Any, y: Any) -> Any:
    """The axes of size 1 that numpy adds for vectors are read as 0 and never made."""
    x_rank, y_rank, result = len(x.shape), len(y.shape), node.results[0]
    lead, wide = max(x_rank, y_rank, 2) - 2, accumulator(result.dtype)
    read_x = broadcast_reader(x, lead + 2)
    read_y = broadcast_reader(y, lead + 2)

    def term(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        batch, (k,) = index[:lead], summed
        row = index[lead] if x_rank > 1 else 0
        right = read_y(*batch, k, index[-1]) if y_rank > 1 else y(k)
        return b.cast(read_x(*batch, row, k), wide) * b.cast(right, wide)

    total = b.reduce("sum", b.shape(result), (x.shape[-1],), wide, term)
    return narrowed(b, total, result.dtype)


def _samples_matmul() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 5, 7), tensor("float32", 7, 3))),
        Sample((tensor("float32", "n", 1, 4, 6), tensor("float32", 2, 6, 5))),
        Sample((tensor("float32", 2, "s", 6), tensor("float32", 6))),
        Sample((tensor("int32", 6), tensor("int32", 2, 6, 3))),
        Sample((tensor("float64", 6), tensor("float64", 6))),
        Sample((tensor("bfloat16", 3, 8), tensor("bfloat16", 8, 4))),
        Sample((tensor("int16", "n", 8), tensor("int16", 8, 20)), {"dtype": "int32"}),
        Sample((tensor("int16", 2, 3, 4), tensor("int8", 4, 5)), {"dtype": "int32"}),
        Sample((tensor("uint8", "n", 12), tensor("int8", 12, 5)), {"dtype": "int32"}),
    ]


def _infer_conv(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w, *bias = types
    groups = attrs["groups"]
    dtype = _summed_as((x, w), attrs)
    _check_conv(x, w, groups)
    if attrs["channels_last"]:
        x = x.with_shape(channels_moved_first(x.shape))
    require_equal(x.shape[1], dims.product((w.shape[1], groups)), "the input channels and the kernel's times groups")
    require(not _indivisible(w.shape[0], groups), f"{w.shape[0]} result channels cannot be split into {groups} groups")
    _check_bias(bias, dtype, w.shape[0])
    sizes = [axis.count(size) for axis, size in zip(windows(attrs, w.shape[2:]), x.shape[2:], strict=True)]
    return (x.with_shape(_placed(attrs, x.shape[0], w.shape[0], sizes)).with_dtype(dtype),)


def _placed(attrs: Attrs, batch: Dim, channels: Dim, sizes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape of an image in the layout that the attributes name."""
    return (batch, *sizes, channels) if attrs["channels_last"] else (batch, channels, *sizes)


def _check_conv(x: TensorType, w: TensorType, groups: int) -> None:
    require(x.rank >= 3, f"a convolution needs batch, channel and spatial axes, but the input has {x.rank} axes")
    require_rank(w, x.rank, "the kernel")
    require(groups >= 1, f"groups is {groups}, which is not positive")


def _check_bias(bias: Sequence[TensorType], dtype: str, channels: Dim) -> None:
    for type in bias:
        require_dtype(type, (dtype,), "the bias")
        require_rank(type, 1, "the bias")
        require_equal(type.shape[0], channels, "the size of the bias and the result channels")


def _indivisible(size: Dim, groups: int) -> bool:
    return isinstance(size, int) and size % groups != 0


def _ref_conv(attrs: Attrs, x: Array, w: Array, *bias: Array) -> Array:
    """One matrix product per kernel tap, all groups at once."""
    if attrs["channels_last"]:
        return np.moveaxis(_ref_conv({**attrs, "channels_last": False}, np.moveaxis(x, -1, 1), w, *bias), 1, -1)
    x, w = _widened(attrs, x, w)
    axes, groups = windows(attrs, w.shape[2:]), attrs["groups"]
    counts = [int(axis.count(size)) for axis, size in zip(axes, x.shape[2:], strict=True)]
    source = padded(exact(x), axes, counts, 0)
    kernel = exact(w).reshape(groups, w.shape[0] // groups, *w.shape[1:])
    total = np.zeros((x.shape[0], groups, kernel.shape[1], int(np.prod(counts))), source.dtype)
    for tap in taps(w.shape[2:]):
        at: Any = (..., *tap)
        seen = tap_view(source, axes, counts, tap).reshape(x.shape[0], groups, w.shape[1], -1)
        total += kernel[at] @ seen
    return _finish(total.reshape(x.shape[0], w.shape[0], *counts), bias, x.dtype)


def _finish(total: Array, bias: Sequence[Array], dtype: Any) -> Array:
    """Add the bias, if any, to the channels and round."""
    for values in bias:
        total = total + exact(values).reshape(-1, *[1] * (total.ndim - 2))
    return total.astype(dtype)


def _compute_conv(b: Any, node: Node, x: Any, w: Any, *bias: Any) -> Any:
    axes, groups = windows(node.attrs, node.inputs[1].shape[2:]), node.attrs["groups"]
    depth, wide, zero = w.shape[1], accumulator(node.results[0].dtype), b.const(0, x.dtype)

    last = node.attrs["channels_last"]
    if last:
        x = channels_first_view(b, x)

    def term(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        (batch, out, *places), (c, *tap) = channels_moved_first(index) if last else index, summed
        channel = c if groups == 1 else out // (w.shape[0] // groups) * depth + c
        seen = read_window(b, x, (batch, channel), places, axes, tap, zero)
        return b.cast(seen, wide) * b.cast(w(out, c, *tap), wide)

    return _sum_with_bias(b, node, (depth, *w.shape[2:]), term, bias, axis=-1 if last else 1)


def _sum_with_bias(
    b: Any, node: Node, extents: Sequence[Any], term: Callable[..., Any], bias: Sequence[Any], axis: int = 1
) -> Any:
    """Sum `term` over `extents`, add the bias, if any, to the channels, which are the given axis, and round."""
    result = node.results[0]
    wide = accumulator(result.dtype)
    total = b.reduce("sum", b.shape(result), tuple(extents), wide, term)
    if bias:
        plain, (values,) = total, bias
        total = b.stage(plain.shape, wide, lambda *i: plain(*i) + b.cast(values(i[axis]), wide))
    return narrowed(b, total, result.dtype)


def _infer_conv_transpose(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w, *bias = types
    groups, extra = attrs["groups"], attrs["output_padding"]
    require_same_dtype((x, w))
    require_dtype(x, NUMERIC, "the input")
    _check_conv(x, w, groups)
    if attrs["channels_last"]:
        x = x.with_shape(channels_moved_first(x.shape))
    require_equal(x.shape[1], w.shape[0], "the channels of the input and of the kernel")
    require(not _indivisible(w.shape[0], groups), f"{w.shape[0]} channels cannot be split into {groups} groups")
    channels = dims.product((w.shape[1], groups))
    _check_bias(bias, x.dtype, channels)
    axes = windows(attrs, w.shape[2:])
    require_lengths(len(axes), output_padding=extra)
    require(all(e >= 0 for e in extra), f"output_padding {extra} must not be negative")
    sizes = [axis.spread(size, e) for axis, size, e in zip(axes, x.shape[2:], extra, strict=True)]
    return (x.with_shape(_placed(attrs, x.shape[0], channels, sizes)),)


def _ref_conv_transpose(attrs: Attrs, x: Array, w: Array, *bias: Array) -> Array:
    """Each input place adds its product with the kernel to the places it spreads to: one matrix product per tap."""
    if attrs["channels_last"]:
        first = _ref_conv_transpose({**attrs, "channels_last": False}, np.moveaxis(x, -1, 1), w, *bias)
        return np.moveaxis(first, 1, -1)
    axes, groups = windows(attrs, w.shape[2:]), attrs["groups"]
    batch, channels, *sizes = x.shape
    whole = [(s - 1) * a.stride + a.extent + e for a, s, e in zip(axes, sizes, attrs["output_padding"], strict=True)]
    source = exact(x).reshape(batch, groups, channels // groups, -1)
    kernel = np.swapaxes(exact(w).reshape(groups, channels // groups, *w.shape[1:]), 1, 2)
    total = np.zeros((batch, groups * w.shape[1], *whole), source.dtype)
    for tap in taps(w.shape[2:]):
        at: Any = (..., *tap)
        target = tap_view(total, axes, sizes, tap)
        target += (kernel[at] @ source).reshape(target.shape)
    crop = [slice(a.before, n - a.after) for a, n in zip(axes, whole, strict=True)]
    return _finish(total[(slice(None), slice(None), *crop)], bias, x.dtype)


def _compute_conv_transpose(b: Any, node: Node, x: Any, w: Any, *bias: Any) -> Any:
    """In gather form: a result place p sums the taps k for which an input place i has i * stride + k * dilation = p."""
    axes, groups = windows(node.attrs, node.inputs[1].shape[2:]), node.attrs["groups"]
    depth, per_group = w.shape[0] // groups, w.shape[1]
    wide, zero, last = accumulator(x.dtype), b.const(0, x.dtype), node.attrs["channels_last"]
    if last:
        x = channels_first_view(b, x)

    def term(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        (batch, out, *places), (c, *tap) = channels_moved_first(index) if last else index, summed
        channel = c if groups == 1 else out // per_group * depth + c
        column = out if groups == 1 else out % per_group
        seen = _read_spread(b, x, (batch, channel), places, axes, tap, zero)
        return b.cast(seen, wide) * b.cast(w(channel, column, *tap), wide)

    return _sum_with_bias(b, node, (depth, *w.shape[2:]), term, bias, axis=-1 if last else 1)


def _read_spread(
    b: Any, x: Any, head: Sequence[Any], places: Sequence[Any], axes: Sequence[Window], tap: Sequence[Any], zero: Any
) -> Any:
    """The element of `x` that reaches the result `places` through `tap`, or zero where there is none."""
    sources, exists = [], []
    for w, place, k, size in zip(axes, places, tap, x.shape[2:], strict=True):
        offset = place + b.dim(w.before) - k * w.dilation
        source = offset // w.stride
        sources.append(source)
        exists += [offset >= 0, source < size]
        if w.stride > 1:
            exists.append(b.equal(offset % w.stride, 0))
    return guarded(b, exists, x, (*head, *sources), zero)


def _samples_conv() -> Sequence[Sample]:
    def sample(*types: TensorType, strides: Any, pads: Any, dilations: Any, groups: int = 1, **more: Any) -> Sample:
        return Sample(types, {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups, **more})

    f32, i16, i32 = (functools.partial(tensor, dtype) for dtype in ("float32", "int16", "int32"))
    last: dict[str, Any] = {"channels_last": True}
    sums: dict[str, Any] = {"dtype": "int32"}
    deep: dict[str, Any] = {"dilations": (2, 1), "groups": 12}
    return [
        sample(f32(2, 3, 7, 6), f32(4, 3, 3, 2), f32(4), strides=(2, 1), pads=(1, 0, 2, 1), dilations=(1, 2)),
        sample(f32("n", 3, "h", "w"), f32(2, 3, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1), dilations=(1, 1)),
        sample(f32(1, 4, 5, 5), f32(4, 1, 3, 3), f32(4), strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=4),
        sample(f32(1, 4, 9), f32(6, 2, 3), strides=(1,), pads=(4, 0), dilations=(2,), groups=2),
        sample(f32(1, 2, 3, 4, 3), f32(3, 2, 2, 2, 1), strides=(1, 2, 1), pads=(0,) * 6, dilations=(1, 1, 1)),
        sample(tensor("int32", 1, 2, 5), tensor("int32", 3, 2, 2), strides=(1,), pads=(1, 0), dilations=(1,)),
        sample(f32(2, 7, 6, 3), f32(4, 3, 3, 2), f32(4), strides=(2, 1), pads=(1, 0, 2, 1), dilations=(1, 2), **last),
        sample(f32("n", "h", "w", 3), f32(20, 3, 3, 3), strides=(1, 1), pads=(1,) * 4, dilations=(1, 1), **last),
        sample(f32(2, 9, 7, 12), f32(18, 12, 3, 3), f32(18), strides=(1, 1), pads=(1,) * 4, dilations=(1, 1), **last),
        sample(f32(1, 7, 40, 12), f32(12, 1, 3, 3), f32(12), strides=(1, 2), pads=(1,) * 4, **deep, **last),
        sample(f32(1, 9, 4), f32(6, 2, 3), strides=(1,), pads=(4, 0), dilations=(2,), groups=2, **last),
        sample(f32(2, 5, 6), f32(3, 6, 1), f32(3), strides=(1,), pads=(0, 0), dilations=(1,), **last),
        sample(i16("n", "h", 7, 4), i16(20, 4, 3, 3), strides=(1, 2), pads=(1,) * 4, dilations=(1, 1), **sums, **last),
        sample(
            i16(2, 6, 8),
            tensor("int8", 10, 4, 2),
            i32(10),
            strides=(1,),
            pads=(0, 1),
            dilations=(2,),
            groups=2,
            **sums,
            **last,
        ),
        sample(i16(1, 2, 5), i16(3, 2, 2), strides=(1,), pads=(1, 0), dilations=(1,), **sums),
    ]


def _samples_conv_transpose() -> Sequence[Sample]:
    def sample(
        *types: TensorType, strides: Any, pads: Any, dilations: Any, extra: Any, groups: int = 1, **more: Any
    ) -> Sample:
        attrs = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups, "output_padding": extra}
        return Sample(types, {**attrs, **more})

    f32 = functools.partial(tensor, "float32")
    last = {"channels_last": True}
    same: dict[str, Any] = {"dilations": (1, 1), "extra": (0, 0)}
    tight: dict[str, Any] = {"dilations": (1, 2), "extra": (1, 0)}
    return [
        sample(f32(2, 3, 4, 3), f32(3, 2, 3, 2), f32(2), strides=(2, 3), pads=(1, 0, 0, 1), **tight),
        sample(f32("n", 2, "h", "w"), f32(2, 3, 2, 2), f32(3), strides=(2, 2), pads=(0,) * 4, **same),
        sample(f32(1, 4, 3, 3), f32(4, 3, 3, 3), strides=(1, 1), pads=(1,) * 4, groups=2, **same),
        sample(f32(1, 2, 5), f32(2, 1, 4), strides=(2,), pads=(1, 1), dilations=(1,), extra=(0,)),
        sample(f32(2, 4, 3, 3), f32(3, 2, 3, 2), f32(2), strides=(2, 3), pads=(1, 0, 0, 1), **tight, **last),
        sample(f32("n", "h", "w", 2), f32(2, 18, 2, 2), f32(18), strides=(2, 2), pads=(0,) * 4, **same, **last),
        sample(f32(1, 3, 4), f32(4, 3, 3), strides=(1,), pads=(1, 1), dilations=(1,), extra=(0,), groups=2, **last),
        sample(f32(1, 5, 6), f32(6, 20, 4), strides=(2,), pads=(1, 1), dilations=(1,), extra=(0,), **last),
    ]


_WINDOW = {"strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED}

ROWS: tuple[Op, ...] = (
    Op(
        "matmul",
        Kind.CONTRACTION,
        _infer_matmul,
        _ref_matmul,
        _compute_matmul,
        (2, 2),
        {"dtype": None},
        _samples_matmul,
        "The matrix product as numpy.matmul defines it: vectors, batches and broadcasting. Integers wrap around. "
        "`dtype` is that of the result, to which the elements are converted before they are multiplied; None: theirs.",
    ),
    Op(
        "conv",
        Kind.CONTRACTION,
        _infer_conv,
        _ref_conv,
        _compute_conv,
        (2, 3),
        {**_WINDOW, "groups": 1, "channels_last": False, "dtype": None},
        _samples_conv,
        doc="Convolution (cross-correlation) of x [N, C, ...] with w [O, C/groups, ...], and a bias [O]; `pads` are "
        "all begins, then all ends. With `channels_last`, x and the result are [N, ..., C]. `dtype` as for matmul; the "
        "bias has the result's.",
    ),
    Op(
        "conv_transpose",
        Kind.CONTRACTION,
        _infer_conv_transpose,
        _ref_conv_transpose,
        _compute_conv_transpose,
        (2, 3),
        {**_WINDOW, "groups": 1, "output_padding": REQUIRED, "channels_last": False},
        _samples_conv_transpose,
        doc="Transposed convolution of x [N, C, ...] with w [C, O/groups, ...], and a bias [O]. "
        "A result has (size - 1) * stride + (kernel - 1) * dilation + 1 + output_padding - pads places. "
        "With `channels_last`, x and the result are [N, ..., C].",
    ),
)
