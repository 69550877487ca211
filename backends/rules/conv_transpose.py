"""Transposed convolution with constant weights, as a plain one whose results are interleaved."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.conv_transpose import ConvTranspose, emit_conv_transpose
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing_conv import Spread, pack_conv_transpose, packed_conv_shape
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "conv_transpose":
        return "is not a transposed convolution"
    if node.inputs[0].dtype != "float32":
        return f"works on {node.inputs[0].dtype}"
    if not all(isinstance(size, int) for size in (node.inputs[0].shape[1], *node.attrs["pads"])):
        return "its channels or padding are dynamic"
    return "" if group.is_weight(node.inputs[1]) else "its kernel is not a constant"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    image, weights, *bias = node.inputs
    transposed, machine = _sizes(group, node), Vectors.of(group.target)
    conv, groups = transposed.conv, node.attrs["groups"]
    block = conv.block(machine)
    packing = partial(pack_conv_transpose, groups=groups, spreads=transposed.spreads, block=block)
    plain = (conv.outputs, conv.channels // groups, *(axis.kernel for axis in conv.axes))
    layouts = {weights: Layout(packing, packed_conv_shape(plain, groups, block))}
    group.place(layouts, held=node.results[0])
    finish = group.finisher(node.results[0])

    def store(n: Index, o: Index, places: Indices, value: Expr) -> None:
        finish((n, o, *places), value + group.tensors[bias[0]](o) if bias else value)

    emit_conv_transpose(group.k, machine, transposed, group.tensors[image], group.inputs[weights], store)
    return layouts


def _sizes(group: Group, node: Node) -> ConvTranspose:
    batch, channels, *sizes = group.shape(node.inputs[0])
    groups = node.attrs["groups"]
    outputs = int(node.inputs[1].shape[1]) * groups
    return ConvTranspose(batch, int(channels), outputs, groups, tuple(sizes), _spreads(node))


def _spreads(node: Node) -> tuple[Spread, ...]:
    attrs, kernel = node.attrs, node.inputs[1].shape[2:]
    before, after = attrs["pads"][: len(kernel)], attrs["pads"][len(kernel) :]
    columns = kernel, attrs["strides"], attrs["dilations"], before, after, attrs["output_padding"]
    return tuple(
        Spread(size, stride, dilation, begin, dilation * (size - 1) + 1 + extra - begin - end - stride)
        for size, stride, dilation, begin, end, extra in zip(*columns, strict=True)
    )


RULE = Rule("conv transpose", declines, emit)
