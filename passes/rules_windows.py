"""Rules for windows: zeros around an image that a convolution adds itself, taps that read only these, joined images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.ops.precision import accumulator
from tilewright.ir.ops.windows import channels_moved_first
from tilewright.passes.patterns import Match
from tilewright.passes.rewrite import Decline, Replacement, rule

_FEWER_OUTPUTS = 8  # times as many channels must be joined as result
_PARTS = 4  # at most: each takes a kernel


@rule(lambda p, x, w: p.conv(p.pad(x, mode="constant", value=0).named("padded"), w))
def padding_in_conv(match: Match, x: Value, w: Value, padded: Value) -> Replacement:
    return _pad_conv(match, padded, x, w)


@rule(lambda p, x, w, b: p.conv(p.pad(x, mode="constant", value=0).named("padded"), w, b))
def padding_in_biased_conv(match: Match, x: Value, w: Value, b: Value, padded: Value) -> Replacement:
    return _pad_conv(match, padded, x, w, b)


def _pad_conv(match: Match, padded: Value, *inputs: Value) -> Replacement:
    assert padded.node is not None
    before, after = (_spatial_behind(match, padded.node.attrs[name]) for name in ("before", "after"))
    added = (*before[2:], *after[2:])
    if any(d != 0 for d in (*before[:2], *after[:2])) or any(not isinstance(d, int) or d < 0 for d in added):
        return Decline("the batch or the channels are padded, or the padding is negative or not known")
    pads = tuple(old + new for old, new in zip(match.node.attrs["pads"], added, strict=True))
    return match.apply("conv", *inputs, **{**match.node.attrs, "pads": pads})


@rule(lambda p, x, w: p.conv(x, w))
def taps_on_padding(match: Match, x: Value, w: Value) -> Replacement:
    return _drop_taps(match, x, w)


@rule(lambda p, x, w, b: p.conv(x, w, b))
def taps_on_padding_with_bias(match: Match, x: Value, w: Value, b: Value) -> Replacement:
    return _drop_taps(match, x, w, b)


def _drop_taps(match: Match, x: Value, w: Value, *bias: Value) -> Replacement:
    """The same sums without the first and last taps that read padding for every result, as in wide dilations."""
    attrs, places = match.node.attrs, len(w.shape) - 2
    pads = attrs["pads"]
    images, results = (_spatial_behind(match, v.shape)[2:] for v in (x, match.root))
    columns = images, results, w.shape[2:], attrs["strides"], attrs["dilations"], pads[:places], pads[places:]
    dropped = [_idle_taps(*axis) for axis in zip(*columns, strict=True)]
    if not any(map(any, dropped)):
        return Decline("each tap may read the image")
    if w.data is not None and not np.isfinite(w.data).all():
        return Decline("padding times a weight that is not finite is NaN")
    firsts, lasts = zip(*dropped, strict=True)
    sizes = (size - first - last for size, first, last in zip(w.shape[2:], firsts, lasts, strict=True))
    ends = zip((*firsts, *lasts), attrs["dilations"] * 2, pads, strict=True)
    starts, steps = (0, 0, *firsts), (1,) * len(w.shape)
    kept = match.apply("slice", w, starts=starts, sizes=(*w.shape[:2], *sizes), steps=steps)
    fewer = tuple(pad - idle * dilation for idle, dilation, pad in ends)
    return match.apply("conv", x, kept, *bias, **{**attrs, "pads": fewer})


def _idle_taps(
    size: Dim, results: Dim, kernel: Dim, stride: int, dilation: int, before: Dim, after: Dim
) -> tuple[int, int]:
    """How many first and last taps of an axis read only padding, as far as there is padding to drop with them."""
    known = all(isinstance(d, int) for d in (size, results, kernel, before, after))
    if not known or size == 0 or results == 0:
        return 0, 0
    reach = (results - 1) * stride - before  # where the first tap of the last window reads
    last = (kernel - 1) * dilation - before  # where the last tap of the first window reads
    first = max(0, min(-(reach // dilation), before // dilation))
    final = max(0, min((last - size) // dilation + 1, after // dilation))
    return (first, final) if first + final < kernel else (0, 0)


def _spatial_behind(match: Match, sizes: Sequence[Dim]) -> Sequence[Dim]:
    """One size for each axis of the convolution's image, those of the spatial axes behind the others."""
    return channels_moved_first(sizes) if match.node.attrs["channels_last"] else sizes


@rule(lambda p, w: p.conv(p.concat(...).named("joined"), w, groups=1))
def conv_of_concat(match: Match, w: Value, joined: Value) -> Replacement:
    return _sum_over_parts(match, joined, w)


@rule(lambda p, w, b: p.conv(p.concat(...).named("joined"), w, b, groups=1))
def biased_conv_of_concat(match: Match, w: Value, b: Value, joined: Value) -> Replacement:
    return _sum_over_parts(match, joined, w, b)


def _sum_over_parts(match: Match, joined: Value, w: Value, *bias: Value) -> Replacement:
    """A convolution of each part, where adding up the few result channels takes less than joining the parts."""
    assert joined.node is not None
    attrs, axis = match.node.attrs, joined.node.attrs["axis"]
    if axis != (joined.rank - 1 if attrs["channels_last"] else 1):
        return Decline("the parts are not channels")
    if accumulator(joined.dtype) != joined.dtype:
        return Decline("the sums of the parts would be rounded")
    sizes = [part.shape[axis] for part in joined.node.inputs]
    outputs = w.shape[0]
    if not isinstance(outputs, int) or not all(isinstance(size, int) for size in sizes):
        return Decline("the numbers of channels are not known")
    if outputs * _FEWER_OUTPUTS > sum(sizes) or len(sizes) > _PARTS:
        return Decline("the result has almost as many channels, or there are many parts")
    total: Value | None = None
    for start, size, part in zip(itertools.accumulate((0, *sizes)), sizes, joined.node.inputs, strict=False):
        starts, steps = (0, start, *(0 for _ in w.shape[2:])), (1,) * w.rank
        kernel = match.apply("slice", w, starts=starts, sizes=(outputs, size, *w.shape[2:]), steps=steps)
        added = match.apply("conv", part, kernel, *(bias if total is None else ()), **attrs)
        total = added if total is None else match.apply("add", total, added)
    assert total is not None
    return total


@rule(lambda p: p.op(("max_pool", "avg_pool"), p.concat(...).named("joined")))
def pool_of_concat(match: Match, joined: Value) -> Replacement:
    """The pools of the parts are joined, which are smaller, and which the next product or convolution joins itself."""
    assert joined.node is not None
    attrs, axis = match.node.attrs, joined.node.attrs["axis"]
    if axis != (joined.rank - 1 if attrs["channels_last"] else 1):
        return Decline("the parts are not channels")
    parts = joined.node.inputs
    if len(parts) > _PARTS:
        return Decline("there are many parts")
    places = [[d for a, d in enumerate(part.shape) if a != axis] for part in parts]
    if not all(dims.same_shape(places[0], others) for others in places):
        return Decline("the parts may not fit, of which their pools tell nothing")
    if set(attrs["strides"]) == {1}:
        return Decline("the pools are about as large as the parts")
    pools = [match.apply(match.node.op.name, part, **attrs) for part in parts]
    return match.apply("concat", *pools, axis=axis)


RULES = (
    padding_in_conv,
    padding_in_biased_conv,
    taps_on_padding,
    taps_on_padding_with_bias,
    conv_of_concat,
    biased_conv_of_concat,
    pool_of_concat,
)
