"""A depthwise convolution and the matrix product behind it, in one kernel: what is between stays in the caches.

A task makes a few rows of the first, with the elementwise operators after it, and multiplies them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.depthwise import Depthwise
from tilewright.backends.kernels.gemm import gemm, worth_sharing
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index, minimum
from tilewright.backends.kernels.packing import pack_b, packed_b_shape
from tilewright.backends.kernels.packing_conv import pack_depthwise
from tilewright.backends.kernels.patches import even
from tilewright.backends.kernels.ranges import Indices, div_down, div_up, maximum, named, tasks
from tilewright.backends.kernels.tile import Vectors, choose_tile
from tilewright.backends.rules import conv_last
from tilewright.backends.rules.matmul import rows_ahead, unflatten
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value

_KEPT = 1 << 14  # elements of the depthwise result that a task makes and multiplies at once, about


def declines(group: Group) -> str:
    anchors = [node.op.name for node in group.anchors]
    return "" if anchors == ["conv", "matmul"] else "is not a convolution and a product of its results"


def emit(group: Group) -> Mapping[Value, Layout]:
    first, second = group.anchors
    image, weights, *bias = first.inputs
    left, right = second.inputs
    channels, _, *kernel = (int(size) for size in weights.shape)
    columns, machine = int(right.shape[1]), Vectors.of(group.target)
    tile = choose_tile(machine, columns)
    layouts = {
        weights: Layout(pack_depthwise, (*kernel, channels)),
        right: Layout(partial(pack_b, nb=tile.columns, steps=1), packed_b_shape(channels, columns, tile.columns, 1)),
    }
    group.place(layouts, first.results[0], second.results[0])
    k, conv = group.k, conv_last.sizes(group, first)
    finish, ahead = group.finisher(second.results[0]), rows_ahead(group, second.results[0], columns)
    depthwise = Depthwise.of(k, machine, conv, group.inputs[image], group.inputs[weights])
    high, wide = (axis.results for axis in conv.axes)
    at_once = named(k, "at_once", even(k, high, maximum(1, div_down(_KEPT // channels, maximum(wide, 1)))))
    leading = group.shape(left)[:-1]

    worth = worth_sharing(conv.places, 1, conv.work + channels * columns)
    with tasks(k, (conv.batch, div_up(high, at_once)), worth) as (n, part):
        top = named(k, "top", part * at_once)
        count = named(k, "count", minimum(at_once, high - top))
        made = k.scratch("made", (at_once * wide, channels))
        with k.serial(count, name="row") as row:

            def keep(n: Index, places: Indices, c: Expr, value: Expr) -> None:
                total = value + group.tensors[bias[0]](c) if bias else value
                group.tensors[first.results[0]].bind(lambda *_: total)
                k.store(made, (row * wide + places[-1], c), group.tensors[left](n, *places, c))

            depthwise.row(keep, (n, top + row))
        start = named(k, "start", (n * high + top) * wide)

        def store(i: Expr, j: Expr, value: Expr) -> None:
            finish((*unflatten(start + i, leading), j), value)

        gemm(
            k, tile, named(k, "rows", count * wide), columns, channels, made, group.inputs[right], store,
            None if ahead is None else lambda r, c: ahead(start + r, c), shared=False,
        )  # fmt: skip
    return layouts


RULE = Rule("separable conv", declines, emit)
