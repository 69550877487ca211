"""Windows of a deformable convolution: each tap is read at a place of its own (Dai et al., 2017; Zhu et al., 2019)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_rank, require_same_dtype
from tilewright.ir.ops.interpolation import NUMPY, clamp
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.ops.sampling import Tap, bounded, weighted
from tilewright.ir.ops.windows import Window, windows
from tilewright.ir.types import FLOATS, TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, offset, *mask = types
    kernel, groups, number = attrs["kernel"], attrs["offset_groups"], dims.product(attrs["kernel"])
    require_same_dtype(types)
    require_dtype(x, FLOATS, "the input")
    require(x.rank >= 3, f"a convolution needs batch, channel and spatial axes, but the input has {x.rank} axes")
    require(groups >= 1, f"offset_groups is {groups}, which is not positive")
    require(not isinstance(x.shape[1], int) or x.shape[1] % groups == 0, f"{x} has not {groups} groups of channels")
    sizes = [axis.count(size) for axis, size in zip(windows(attrs, kernel), x.shape[2:], strict=True)]
    for type, planes, what in ((offset, len(kernel), "offset"), *((m, 1, "mask") for m in mask)):
        require_rank(type, x.rank, f"the {what}")
        wanted = (x.shape[0], dims.product((groups, number, planes)), *sizes)
        for axis, (a, b) in enumerate(zip(type.shape, wanted, strict=True)):
            require_equal(a, b, f"axis {axis} of the {what} and what it belongs to")
    return (x.with_shape((x.shape[0], dims.product((x.shape[1], number)), dims.product(sizes))),)


def _tap(m: Any, axis: Window, place: Any, k: Any, shift: Any, side: Any, size: Any, dtype: str) -> Tap:
    """The place below (side 0) or above (1) where tap `k` of the window at `place`, moved by `shift`, falls."""
    at = m.cast(axis.start(m, place) + k * axis.dilation, dtype) + shift
    at = m.let(bounded(m, at, m.const(-4.0, dtype), m.cast(size, dtype) + 4.0))
    low = m.let(m.floor(at))
    rest, source = m.let(at - low), m.let(m.cast(low, "int64") + side)
    inside = m.logical_and(source >= 0, source < size)
    return Tap(m.let(clamp(m, source, size)), m.select(m.equal(side, 0), 1.0 - rest, rest), inside)


def _ref(attrs: Attrs, x: Array, offset: Array, *mask: Array) -> Array:
    kernel, groups, dtype = attrs["kernel"], attrs["offset_groups"], accumulator(dtype_name(x.dtype))
    axes, counts, number = windows(attrs, kernel), offset.shape[2:], int(np.prod(kernel))
    shifts = offset.astype(dtype).reshape(x.shape[0], groups, number, len(kernel), *counts)
    source = exact(x).reshape(x.shape[0], groups, -1, *x.shape[2:])
    result = np.zeros((x.shape[0], groups, source.shape[2], number, *counts))
    lead = np.ix_(*(np.arange(n) for n in (x.shape[0], groups)))
    batch, group = (i.reshape(*i.shape, *[1] * len(counts)) for i in lead)
    for t, tap in enumerate(np.ndindex(*kernel)):
        for sides in itertools.product((0, 1), repeat=len(kernel)):
            places = np.indices(counts, sparse=True)
            columns = zip(axes, places, tap, np.moveaxis(shifts[:, :, t], 2, 0), sides, x.shape[2:], strict=True)
            found = [_tap(NUMPY, a, p, k, shift, side, size, dtype) for a, p, k, shift, side, size in columns]
            seen = np.moveaxis(source[(batch, group, slice(None), *(f.place for f in found))], -1, 0)
            result[:, :, :, t] += np.moveaxis(weighted(NUMPY, seen, found, 0.0), 0, 2)
    for values in mask:
        result *= exact(values).reshape(x.shape[0], groups, 1, number, *counts)
    return result.reshape(x.shape[0], -1, int(np.prod(counts))).astype(x.dtype)


def _compute(b: Any, node: Node, x: Any, offset: Any, *mask: Any) -> Any:
    kernel, groups, wide = node.attrs["kernel"], node.attrs["offset_groups"], accumulator(x.dtype)
    axes, counts, number = windows(node.attrs, kernel), offset.shape[2:], dims.static_product(kernel)

    def term(index: Sequence[Any], sides: Sequence[Any]) -> Any:
        n, row, column = index
        channel, t = b.let(b.truncdiv(row, number)), b.let(b.truncmod(row, number))
        plane = b.let(b.truncdiv(channel, b.truncdiv(x.shape[1], groups)) * number + t)
        places, tap = _unravel(b, column, counts), _unravel(b, t, kernel)
        found = []
        for i, axis in enumerate(axes):
            shift = b.cast(offset(n, plane * len(axes) + i, *places), wide)
            found.append(_tap(b, axis, places[i], tap[i], shift, sides[i], x.shape[2 + i], wide))
        value = weighted(b, b.cast(x(n, channel, *(f.place for f in found)), wide), found, b.const(0, wide))
        return functools.reduce(lambda a, m: a * b.cast(m(n, plane, *places), wide), mask, value)

    return narrowed(b, b.reduce("sum", b.shape(node.results[0]), (2,) * len(axes), wide, term), x.dtype)


def _unravel(b: Any, number: Any, sizes: Sequence[Any]) -> list[Any]:
    """The place with this number in row-major order."""
    places = []
    for size in reversed(sizes[1:]):
        places.append(b.let(b.truncmod(number, size)))
        number = b.let(b.truncdiv(number, size))
    return [number, *reversed(places)]


def _samples() -> Sequence[Sample]:
    random = np.random.default_rng(6)
    plain: dict[str, Any] = {"kernel": (2, 2), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
    wide: dict[str, Any] = {"kernel": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1), "dilations": (1, 2)}
    image = tensor("float32", 2, 4, 5, 6)
    offset = random.uniform(-3, 3, (2, 24, 3, 5)).astype(np.float32)
    mask = random.uniform(0, 1, (2, 12, 3, 5)).astype(np.float32)
    line = {"kernel": (2,), "strides": (1,), "pads": (0, 0), "dilations": (1,)}
    return [
        Sample((image, random.uniform(-2, 2, (2, 8, 4, 5)).astype(np.float32)), plain),
        Sample((image, offset, mask), {**wide, "offset_groups": 2}),
        Sample((tensor("float32", "n", 3, "h", 4), tensor("float32", "n", 8, "h - 1", 3)), plain),
        Sample((tensor("float64", 1, 2, 7), tensor("float64", 1, 2, 6)), line),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "deform_patches",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (2, 3),
        {
            "kernel": REQUIRED,
            "strides": REQUIRED,
            "pads": REQUIRED,
            "dilations": REQUIRED,
            "offset_groups": 1,
        },
        _samples,
        doc="The windows of x [N, C, ...] as columns [N, C * taps, windows], each tap moved by its offset [N, groups * "
        "taps * axes, ...] and read between the places, with zeros outside; times a mask [N, groups * taps, ...].",
    ),
)
