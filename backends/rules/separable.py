"""A depthwise convolution and the matrix product behind it, in one kernel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.depthwise import Depthwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing import pack_b, packed_b_shape
from tilewright.backends.kernels.packing_conv import pack_depthwise
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.separable import Product, emit_separable
from tilewright.backends.kernels.tile import Vectors, choose_tile
from tilewright.backends.rules import conv_last
from tilewright.backends.rules.matmul import rows_ahead, unflatten
from tilewright.backends.rules.operands import is_depthwise
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    if [node.op.name for node in group.anchors] != ["conv", "matmul"]:
        return "is not a convolution and a product of its results"
    conv, product = group.anchors
    if not is_depthwise(conv) or conv.inputs[0].rank != 4:
        return "its convolution is not a depthwise one of float32 images with two axes, channels last"
    if conv.inputs[0] not in group.body.inputs:
        return "its image is computed on the way"
    right = product.inputs[1]
    if right.dtype != "float32" or right.rank != 2:
        return "its product is not one with a matrix of float32"
    return "" if group.is_weight(right) and group.is_weight(conv.inputs[1]) else "its weights are not constants"


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
    conv, leading = conv_last.sizes(group, first), group.shape(left)[:-1]
    finish, ahead = group.finisher(second.results[0]), rows_ahead(group, second.results[0], columns)

    def between(n: Index, places: Indices, c: Expr, value: Expr) -> Expr:
        total = value + group.tensors[bias[0]](c) if bias else value
        group.tensors[first.results[0]].bind(lambda *_: total)
        return group.tensors[left](n, *places, c)

    def store(place: Expr, column: Expr, value: Expr) -> None:
        finish((*unflatten(place, leading), column), value)

    depthwise = Depthwise.of(group.k, machine, conv, group.inputs[image], group.inputs[weights])
    emit_separable(group.k, depthwise, between, Product(tile, columns, group.inputs[right], store, ahead))
    return layouts


RULE = Rule("separable conv", declines, emit)
