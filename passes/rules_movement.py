"""Rules for operators that only move data: what moves nothing goes, what moves twice moves once."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.op import Kind
from tilewright.ir.ops import TABLE
from tilewright.passes.patterns import Match
from tilewright.passes.rewrite import Decline, Replacement, rule

ELEMENTWISE = tuple(name for name, op in TABLE.items() if op.kind is Kind.ELEMENTWISE)
REDUCTIONS = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")


@rule(lambda p, x: p.op(("reshape", "expand"), x))
def same_shape(match: Match, x: Value) -> Replacement:
    return x if dims.same_shape(x.shape, match.root.shape) else Decline("the shape changes")


@rule(lambda p, x: p.op(("concat", "split"), x))
def only_part(match: Match, x: Value) -> Replacement:
    return Decline("there are other parts, if only empty ones") if len(match.node.results) > 1 else x


@rule(lambda p, x: p.transpose(x))
def same_order(match: Match, x: Value) -> Replacement:
    """Only axes of size 1 move: no element does."""
    perm = match.node.attrs["perm"]
    moved = [axis for axis in perm if x.shape[axis] != 1]
    if moved != sorted(moved):
        return Decline("axes that hold more than one element move")
    return match.apply("reshape", x, shape=match.root.shape)


@rule(lambda p, x: p.slice(x))
def whole_slice(match: Match, x: Value) -> Replacement:
    if any(step != 1 for step in match.node.attrs["steps"]) or not dims.same_shape(x.shape, match.root.shape):
        return Decline("a part is taken, or the order changes")
    return x


@rule(lambda p, x: p.pad(x))
def no_padding(match: Match, x: Value) -> Replacement:
    attrs = match.node.attrs
    return Decline("something is added") if any(d != 0 for d in (*attrs["before"], *attrs["after"])) else x


@rule(lambda p, x: p.tile(x))
def once_tiled(match: Match, x: Value) -> Replacement:
    return Decline("something is repeated") if any(d != 1 for d in match.node.attrs["repeats"]) else x


@rule(lambda p, x: p.reshape(p.reshape(x)), shared=True)
def reshape_of_reshape(match: Match, x: Value) -> Replacement:
    return match.apply("reshape", x, shape=match.root.shape)


@rule(lambda p, x: p.expand(p.expand(x)), shared=True)
def expand_of_expand(match: Match, x: Value) -> Replacement:
    return match.apply("expand", x, shape=match.root.shape)


@rule(lambda p, x: p.transpose(p.transpose(x).named("inner")), shared=True)
def transpose_of_transpose(match: Match, x: Value, inner: Value) -> Replacement:
    assert inner.node is not None
    first, second = inner.node.attrs["perm"], match.node.attrs["perm"]
    return match.apply("transpose", x, perm=tuple(first[axis] for axis in second))


@rule(lambda p, x: p.slice(p.slice(x).named("inner")), shared=True)
def slice_of_slice(match: Match, x: Value, inner: Value) -> Replacement:
    assert inner.node is not None
    first, second = inner.node.attrs, match.node.attrs
    starts = (dims.as_dim(a + b * s) for a, b, s in zip(first["starts"], second["starts"], first["steps"], strict=True))
    steps = (a * b for a, b in zip(first["steps"], second["steps"], strict=True))
    return match.apply("slice", x, starts=tuple(starts), sizes=second["sizes"], steps=tuple(steps))


@rule(lambda p: p.slice(p.concat(...).named("joined")))
def slice_of_concat(match: Match, joined: Value) -> Replacement:
    """Along other axes each part is sliced by itself: less to join, and nothing to copy if the parts are read once."""
    assert joined.node is not None
    axis, attrs = joined.node.attrs["axis"], match.node.attrs
    starts, sizes, steps = attrs["starts"], attrs["sizes"], attrs["steps"]
    if starts[axis] != 0 or steps[axis] != 1 or not dims.equal(sizes[axis], joined.shape[axis]):
        return Decline("not all parts are taken whole along the axis that joins them")
    parts = [
        match.apply("slice", v, starts=starts, sizes=_with(sizes, axis, v.shape[axis]), steps=steps)
        for v in joined.node.inputs
    ]
    return match.apply("concat", *parts, axis=axis)


def _with(sizes: Sequence[Dim], axis: int, size: Dim) -> tuple[Dim, ...]:
    return (*sizes[:axis], size, *sizes[axis + 1 :])


@rule(lambda p, x: p.slice(p.pad(x, mode="constant").named("padded")))
def slice_of_pad(match: Match, x: Value, padded: Value) -> Replacement:
    """Slice first, and pad with what is left of the padding."""
    assert padded.node is not None
    pads, attrs = padded.node.attrs, match.node.attrs
    if any(step != 1 for step in attrs["steps"]):
        return Decline("places are left out between")
    columns = zip(x.shape, padded.shape, pads["before"], pads["after"], attrs["starts"], attrs["sizes"], strict=True)
    axes = [_kept(*column) for column in columns]
    if any(axis is None for axis in axes):
        return Decline("the sizes of what is taken are not known, or nothing but padding is taken")
    starts, sizes, before, after = zip(*(axis for axis in axes if axis), strict=True)
    part = match.apply("slice", x, starts=starts, sizes=sizes, steps=(1,) * x.rank)
    return match.apply("pad", part, before=before, after=after, value=pads["value"])


def _kept(size: Dim, padded: Dim, before: Dim, after: Dim, start: Dim, taken: Dim) -> tuple[Dim, Dim, Dim, Dim] | None:
    """Of an axis that is padded and then sliced: first place, size and padding where it is sliced first."""
    if start == 0 and dims.equal(padded, taken):
        return 0, size, before, after
    if not (isinstance(size, int) and isinstance(before, int) and isinstance(start, int) and isinstance(taken, int)):
        return None
    first, end = max(0, start - before), min(size, start + taken - before)
    left = max(0, before - start)
    return (first, end - first, left, taken - left - (end - first)) if first < end else None


@rule(lambda p: p.concat(...))
def concat_of_concat(match: Match) -> Replacement:
    axis, parts = match.node.attrs["axis"], list[Value]()
    for value in match.node.inputs:
        nested = value.node is not None and value.node.op.name == "concat" and value.node.attrs["axis"] == axis
        parts.extend(value.node.inputs if nested and value.node else [value])
    if len(parts) == len(match.node.inputs):
        return Decline("no part is a concat along the same axis")
    return match.apply("concat", *parts, axis=axis)


@rule(lambda p, x: p.reshape(p.transpose(p.reshape(x).named("merged")).named("moved")))
def reshape_around_transpose(match: Match, x: Value, merged: Value, moved: Value) -> Replacement:
    """Transpose the unmerged axes instead: exporters merge axes only to transpose a tensor of three axes."""
    assert moved.node is not None
    groups = merged_axes(x.shape, merged.shape)
    if groups is None:
        return Decline("the inner reshape does more than to merge neighbouring axes")
    perm = tuple(axis for group in moved.node.attrs["perm"] for axis in groups[group])
    return match.apply("reshape", match.apply("transpose", x, perm=perm), shape=match.root.shape)


@rule(lambda p, x: p.transpose(p.reshape(p.transpose(x).named("inner")).named("reshaped")))
def transpose_around_reshape(match: Match, x: Value, inner: Value, reshaped: Value) -> Replacement:
    """Transpose once, where axes are either split (before it) or merged (behind it): detectors split channels."""
    assert inner.node is not None
    first, second = inner.node.attrs["perm"], match.node.attrs["perm"]
    if parts := merged_axes(reshaped.shape, inner.shape):
        order = [part for axis in range(x.rank) for part in parts[first.index(axis)]]
        if len(order) == reshaped.rank:
            split = match.apply("reshape", x, shape=tuple(reshaped.shape[part] for part in order))
            return match.apply("transpose", split, perm=tuple(order.index(part) for part in second))
    if groups := merged_axes(inner.shape, reshaped.shape):
        perm = tuple(first[axis] for group in second for axis in groups[group])
        if len(perm) == x.rank:
            return match.apply("reshape", match.apply("transpose", x, perm=perm), shape=match.root.shape)
    return Decline("the reshape neither splits nor merges axes")


def merged_axes(shape: Sequence[Dim], merged: Sequence[Dim]) -> list[list[int]] | None:
    """Which neighbouring axes of `shape` make up each axis of `merged`, or None where axes are also split.

    Axes of size 1 that `merged` adds are made up of none; those that it drops go with a neighbour.
    """
    groups: list[list[int]] = []
    axis = 0
    for wanted in merged:
        group: list[int] = []
        size: Dim = 1
        while not dims.equal(size, wanted):
            if axis == len(shape) or (isinstance(size, int) and isinstance(wanted, int) and size > wanted):
                return None
            size = dims.product((size, shape[axis]))
            group.append(axis)
            axis += 1
        groups.append(group)
    rest = range(axis, len(shape))
    if any(shape[a] != 1 for a in rest) or (rest and not groups):
        return None
    if rest:
        groups[-1].extend(rest)
    return groups


@rule(lambda p: p.op(ELEMENTWISE, ...))
def expand_below_elementwise(match: Match) -> Replacement:
    """Elementwise operators broadcast by themselves, so an expanded input is read as it was before."""
    if not any(v.made_by("expand") for v in match.node.inputs):
        return Decline("no input is expanded")
    return match.fit(match.apply(match.node.op.name, *map(_before_expand, match.node.inputs), **match.node.attrs))


def _before_expand(value: Value) -> Value:
    return value.node.inputs[0] if value.node is not None and value.made_by("expand") else value


@rule(lambda p, x: p.op(REDUCTIONS, x))
def reduction_of_one(match: Match, x: Value) -> Replacement:
    if any(x.shape[axis] != 1 for axis in match.node.attrs["axes"]):
        return Decline("an axis holds more than one element")
    return match.apply("reshape", x, shape=match.root.shape)


@rule(lambda p, x: p.reshape(p.op(REDUCTIONS, x, keepdims=False).named("reduced")))
def reduction_keeps_axes(match: Match, x: Value, reduced: Value) -> Replacement:
    assert reduced.node is not None
    axes = reduced.node.attrs["axes"]
    if not dims.same_shape(match.root.shape, (1 if a in axes else d for a, d in enumerate(x.shape))):
        return Decline("the reshape does not put the reduced axes back")
    return match.apply(reduced.node.op.name, x, axes=axes, keepdims=True)


RULES = (
    same_shape,
    only_part,
    same_order,
    whole_slice,
    no_padding,
    once_tiled,
    reshape_of_reshape,
    expand_of_expand,
    transpose_of_transpose,
    slice_of_slice,
    slice_of_concat,
    slice_of_pad,
    concat_of_concat,
    reshape_around_transpose,
    transpose_around_reshape,
    expand_below_elementwise,
    reduction_of_one,
    reduction_keeps_axes,
)
