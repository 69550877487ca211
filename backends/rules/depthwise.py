"""Depthwise convolution with channels last; bias and the operators behind it run on finished sums."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.depthwise import emit_depthwise
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing_conv import pack_depthwise
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules import conv_last
from tilewright.backends.rules.operands import is_depthwise
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    if reason := conv_last.declines(group):
        return reason
    assert group.anchor is not None
    return "" if is_depthwise(group.anchor) else "is not a depthwise one of float32"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    image, weights, *bias = node.inputs
    channels, _, *kernel = (int(d) for d in weights.shape)
    layouts = {weights: Layout(pack_depthwise, (*kernel, channels))}
    group.place(layouts, node.results[0])
    finish = group.finisher(node.results[0])

    def store(n: Index, places: Indices, c: Expr, value: Expr) -> None:
        finish((n, *places, c), value + group.tensors[bias[0]](c) if bias else value)

    machine, conv = Vectors.of(group.target), conv_last.sizes(group, node)
    emit_depthwise(
        group.k, machine, conv, group.inputs[image], group.inputs[weights], store, group.asker(node.results[0])
    )
    return layouts


RULE = Rule("depthwise conv", declines, emit)
