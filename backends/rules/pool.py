"""Maximum and average over sliding windows."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.pool import average_divisor, emit_pool
from tilewright.backends.kernels.pool_last import emit_pool_last
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.conv import window_axes
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value
from tilewright.ir.ops.windows import channels_moved_first, channels_moved_last


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name not in ("max_pool", "avg_pool"):
        return "is not a pool"
    return "" if node.inputs[0].dtype == "float32" else f"works on {node.inputs[0].dtype}"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    last = node.attrs["channels_last"]
    shape = group.shape(node.inputs[0])
    batch, channels, *sizes = channels_moved_first(shape) if last else shape
    axes = window_axes(group, node, sizes)
    kind = "max" if node.op.name == "max_pool" else "sum"
    finish = group.finisher(node.results[0])
    image = group.tensors[node.inputs[0]]

    def load(*place: Index) -> Expr:
        return image(*(channels_moved_last(place) if last else place))

    def store(n: Index, c: Index, places: Indices, value: Expr) -> None:
        if kind == "sum":
            value = value / average_divisor(axes, places, node.attrs["count_include_pad"])
        finish((n, *places, c) if last else (n, c, *places), value)

    fold, initial, machine = group.b.folds[kind], group.b.identity(kind, "float32"), Vectors.of(group.target)
    pool = emit_pool_last if last else emit_pool
    pool(group.k, machine, batch, channels, axes, load, fold, initial, "float32", store)
    return {}


RULE = Rule("pool", declines, emit)
