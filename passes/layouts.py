"""Layouts: how operators carry channels from operands to results, and what they become where channels come last.

The channels of a value are neighbouring axes: mostly one, two where they are split, none where they have been summed
over. In the other layout of the value these axes come after all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tilewright.ir.dims import Dim
from tilewright.ir.graph import Node
from tilewright.ir.op import Kind
from tilewright.ir.ops.reshape import aligned_groups

Channels: TypeAlias = "tuple[int, int]"
"""The first of the axes and the one behind the last."""
Order: TypeAlias = "tuple[int, ...]"
"""Which axis of a value each axis of its layout is."""
Runs: TypeAlias = "Sequence[tuple[Sequence[int], Sequence[int]]]"

REDUCTIONS = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin")
CONVOLUTIONS = ("conv", "conv_transpose")
WINDOWED = (*CONVOLUTIONS, "max_pool", "avg_pool")
# Every axis of the result is that of the operands.
SAME_AXES = (
    *("concat", "split", "slice", "pad", "tile", "softmax", "log_softmax", "resize_axis", "gather_elements"),
    "with_sizes",
)
PER_AXIS = {
    "slice": ("starts", "sizes", "steps"),
    "pad": ("before", "after"),
    "tile": ("repeats",),
    "resize": ("sizes", "scales"),
}


def order_last(rank: int, channels: Channels) -> Order:
    """The axes with the channels after the others."""
    first, end = channels
    return (*range(first), *range(end, rank), *range(first, end))


def moves(shape: Sequence[Dim], order: Order) -> bool:
    """Whether any element changes its place: axes of size 1 move none."""
    moved = [axis for axis in order if shape[axis] != 1]
    return moved != sorted(moved)


@dataclass(frozen=True)
class Flow:
    """How the axes of operands become those of results.

    The first `operands` inputs, of up to `rank` axes, are laid out alike; the others are read as they are. `runs` pairs
    axes of the operands with the axes of the results that hold the same.
    """

    operands: int
    rank: int
    runs: Runs

    def forward(self, channels: Channels) -> Channels | None:
        """The channels of the results, or None where these are not whole and side by side."""
        return _carried(self.runs, channels)

    def backward(self, channels: Channels) -> Channels | None:
        """The channels of the operands. Results without channels say nothing about them."""
        found = _carried([(new, old) for old, new in self.runs], channels)
        return None if found == (0, 0) else found


def _carried(runs: Runs, channels: Channels) -> Channels | None:
    chosen, found = range(*channels), list[int]()
    for old, new in runs:
        inside = [axis in chosen for axis in old]
        if any(inside) and not all(inside):
            return None
        found += new if any(inside) else []
    if not found:
        return (0, 0)
    first, end = min(found), max(found) + 1
    return (first, end) if sorted(found) == list(range(first, end)) else None


def flow(node: Node) -> Flow | None:
    """How the operator carries axes along; None for one that works in one layout only."""
    name, attrs = node.op.name, node.attrs
    rank = node.inputs[0].rank if node.inputs else 0
    if node.op.kind is Kind.ELEMENTWISE:
        return _elementwise(node)
    if name == "expand":
        return Flow(1, node.results[0].rank, _kept(range(node.results[0].rank)))
    if name in SAME_AXES or name in WINDOWED or (name == "resize" and not attrs["operands"]):
        return Flow(len(node.inputs) if name in ("concat", "gather_elements") else 1, rank, _kept(range(rank)))
    if name in REDUCTIONS:
        folded = attrs["axes"] if "axes" in attrs else (attrs["axis"],)
        kept = [axis for axis in range(rank) if attrs["keepdims"] or axis not in folded]
        return Flow(1, rank, _kept(kept))
    if name == "transpose":
        return Flow(1, rank, [((axis,), (place,)) for place, axis in enumerate(attrs["perm"])])
    if name == "reshape":
        return Flow(1, rank, aligned_groups(node.inputs[0].shape, node.results[0].shape))
    if name == "gather":
        axis, more = attrs["axis"], node.inputs[1].rank
        before = [((a,), (a,)) for a in range(axis)]
        behind = [((a,), (a + more - 1,)) for a in range(axis + 1, rank)]
        return Flow(1, rank, [*before, ((axis,), tuple(range(axis, axis + more))), *behind])
    return None


def _elementwise(node: Node) -> Flow | None:
    rank = node.results[0].rank
    if node.attrs.get("block"):
        return None  # its scales have axes of their own
    scaled = "axis" in node.attrs
    return Flow(1 if scaled else len(node.inputs), rank, _kept(range(rank)))


def _kept(axes: Sequence[int]) -> Runs:
    return [((axis,), (place,)) for place, axis in enumerate(axes)]


def relaid(node: Node, source: Order, result: Order) -> dict[str, Any]:
    """The attributes that turn operands in the order `source` into results in the order `result`."""
    name, attrs = node.op.name, dict(node.attrs)
    if name == "transpose":
        return {"perm": tuple(source.index(attrs["perm"][axis]) for axis in result)}
    if name in ("reshape", "expand"):
        return {"shape": tuple(attrs["shape"][axis] for axis in result)}
    if name in WINDOWED:
        return {**attrs, "channels_last": True}
    for key in PER_AXIS.get(name, ()):
        attrs[key] = attrs[key] and tuple(attrs[key][axis] for axis in source)
    if attrs.get("axis") is not None:
        attrs["axis"] = source.index(attrs["axis"])
    if attrs.get("axes") is not None:
        attrs["axes"] = tuple(sorted(source.index(axis) for axis in attrs["axes"]))
    return attrs
