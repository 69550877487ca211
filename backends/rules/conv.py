"""Convolution with constant weights, packed when compiling; bias and the operators behind it run on finished sums."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.conv import Conv, emit_conv
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing_conv import pack_conv, packed_conv_shape
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.tile import SUMMED, Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "conv":
        return "is not a convolution"
    if node.attrs["channels_last"]:
        return "its channels come last"
    if node.inputs[0].dtype not in SUMMED:
        return f"works on {node.inputs[0].dtype}"
    if not isinstance(node.inputs[0].shape[1], int):
        return "its number of channels is dynamic"
    return "" if group.is_weight(node.inputs[1]) else "its kernel is not a constant"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    image, weights, *bias = node.inputs
    conv, machine = _sizes(group, node), Vectors.of(group.target)
    block, groups = conv.block(machine), node.attrs["groups"]
    packing = partial(pack_conv, groups=groups, block=block)
    layouts = {weights: Layout(packing, packed_conv_shape(weights.shape, groups, block))}
    group.place(layouts, node.results[0])
    finish = group.finisher(node.results[0])

    def store(n: Index, o: Index, places: Indices, value: Expr) -> None:
        finish((n, o, *places), value + group.tensors[bias[0]](o) if bias else value)

    emit_conv(group.k, machine, conv, group.tensors[image], group.inputs[weights], store)
    return layouts


def _sizes(group: Group, node: Node) -> Conv:
    image, weights = node.inputs[:2]
    batch, channels, *sizes = group.shape(image)
    axes = window_axes(group, node, sizes)
    return Conv(batch, int(channels), int(weights.shape[0]), node.attrs["groups"], axes, image.dtype)


def window_axes(group: Group, node: Node, sizes: list[Index]) -> tuple[Axis, ...]:
    """The windows of a convolution or pooling over axes of the given sizes."""
    attrs, shape = node.attrs, group.shape(node.results[0])
    results = shape[1:-1] if attrs.get("channels_last") else shape[2:]
    kernel = attrs["kernel"] if "kernel" in attrs else node.inputs[1].shape[2:]
    pads = [group.b.dim(p) for p in attrs["pads"]]
    before, after = pads[: len(sizes)], pads[len(sizes) :]
    columns = sizes, kernel, attrs["strides"], attrs["dilations"], before, after, results
    overhangs = [attrs.get("ceil_mode", False)] * len(sizes)
    return tuple(Axis(*window) for window in zip(*columns, overhangs, strict=True))


RULE = Rule("conv", declines, emit)
