"""Transposed convolution with constant weights, as a plain one whose results are interleaved."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.amx_between import LEVEL
from tilewright.backends.kernels.amx_conv_choice import OnAmx, choose_on_amx
from tilewright.backends.kernels.conv import Store
from tilewright.backends.kernels.conv_last_sizes import tile_of
from tilewright.backends.kernels.conv_transpose import (
    ConvTranspose,
    emit_conv_transpose,
    emit_conv_transpose_last,
    emit_conv_transpose_merged,
    interleaved,
    interleaved_ask,
)
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing_conv import (
    Spread,
    pack_conv_transpose,
    pack_conv_transpose_last,
    pack_merged,
    pack_transposed_sums,
    packed_conv_last_shape,
    packed_conv_shape,
)
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.tile import Tile, Vectors, choose_tile
from tilewright.backends.rules.conv_last import ahead, emit_on_amx, packed
from tilewright.backends.rules.rule import Rule
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.windows import channels_moved_first


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "conv_transpose":
        return "is not a transposed convolution"
    if group.is_empty:
        return "sums nothing"
    if node.inputs[0].dtype != "float32":
        return f"works on {node.inputs[0].dtype}"
    if not all(isinstance(size, int) for size in (_channels(node), *node.attrs["pads"])):
        return "its channels or padding are dynamic"
    if node.attrs["channels_last"] and node.inputs[0] not in group.body.inputs:
        return "its image is computed on the way"
    return "" if group.is_weight(node.inputs[1]) else "its kernel is not a constant"


def _channels(node: Node) -> Dim:
    return node.inputs[0].shape[-1 if node.attrs["channels_last"] else 1]


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    if not node.attrs["channels_last"]:
        return _emit_first(group, node)
    transposed, machine = _sizes(group, node), Vectors.of(group.target)
    if merged := transposed.merged:
        tile = tile_of(machine, merged, "float32", merged.outputs)
        if tile.columns >= merged.outputs:
            return _emit_merged(group, node, transposed, tile)
    return _emit_last(group, node, transposed)


def _emit_first(group: Group, node: Node) -> Mapping[Value, Layout]:
    image, weights, *bias = node.inputs
    transposed, machine = _sizes(group, node), Vectors.of(group.target)
    conv, groups = transposed.conv, node.attrs["groups"]
    block = conv.block(machine)
    packing = partial(pack_conv_transpose, groups=groups, spreads=transposed.spreads, block=block)
    plain = (conv.outputs, conv.channels // groups, *(axis.kernel for axis in conv.axes))
    layouts = {weights: Layout(packing, packed_conv_shape(plain, groups, block))}
    group.place(layouts, node.results[0])
    finish = group.finisher(node.results[0])

    def store(n: Index, o: Index, places: Indices, value: Expr) -> None:
        finish((n, o, *places), value + group.tensors[bias[0]](o) if bias else value)

    emit_conv_transpose(group.k, machine, transposed, group.tensors[image], group.inputs[weights], store)
    return layouts


def _emit_merged(group: Group, node: Node, transposed: ConvTranspose, tile: Tile) -> Mapping[Value, Layout]:
    image, weights = node.inputs[:2]
    assert transposed.merged is not None
    plain = (transposed.outputs * transposed.phases, *weights.shape[:1], *(a.kernel for a in transposed.merged.axes))
    layout = packed(transposed.merged, tile, plain)
    packing = partial(pack_merged, spreads=transposed.spreads, packing=layout.packing)
    layouts = {weights: Layout(packing, layout.shape)}
    group.place(layouts, node.results[0])
    store = _storing(group, node)
    emit_conv_transpose_merged(group.k, tile, transposed, group.inputs[image], group.inputs[weights], store)
    return layouts


def _emit_last(group: Group, node: Node, transposed: ConvTranspose) -> Mapping[Value, Layout]:
    image, weights = node.inputs[:2]
    conv, groups = transposed.conv_last, transposed.groups
    if amx := choose_on_amx(Vectors.of(group.target), conv, widens=False):
        return _emit_on_amx(group, node, transposed, amx)
    tile = choose_tile(Vectors.of(group.target), conv.per_group)
    packing = partial(pack_conv_transpose_last, groups=groups, spreads=transposed.spreads, columns=tile.columns)
    plain = (conv.outputs * conv.phases, conv.depth, *(axis.kernel for axis in conv.axes))
    layouts = {weights: Layout(packing, packed_conv_last_shape(plain, groups * conv.phases, tile.columns))}
    group.place(layouts, node.results[0])
    store = _storing(group, node)
    operands, ask = (group.inputs[image], group.inputs[weights]), ahead(group, node.results[0])
    emit_conv_transpose_last(group.k, tile, transposed, *operands, store, ask)
    return layouts


def _emit_on_amx(group: Group, node: Node, transposed: ConvTranspose, amx: OnAmx) -> Mapping[Value, Layout]:
    image, weights = node.inputs[:2]
    packing = partial(pack_transposed_sums, spreads=transposed.spreads, run=amx.run, in_pieces=amx.in_pieces)
    layouts = {weights: Layout(packing, amx.packed_shape, amx.packed_dtype)}
    group.place(layouts, node.results[0])
    store = _storing(group, node)
    operands, ask = (image, group.inputs[weights]), interleaved_ask(transposed, ahead(group, node.results[0], LEVEL))
    emit_on_amx(group, amx, transposed.conv_last, operands, interleaved(group.k, transposed, store), ask)
    return layouts


def _storing(group: Group, node: Node) -> Store:
    """What stores results with channels last."""
    finish, bias = group.finisher(node.results[0]), node.inputs[2:]

    def store(n: Index, o: Index, places: Indices, value: Expr) -> None:
        finish((n, *places, o), value + group.tensors[bias[0]](o) if bias else value)

    return store


def _sizes(group: Group, node: Node) -> ConvTranspose:
    shape = group.shape(node.inputs[0])
    batch, channels, *sizes = channels_moved_first(shape) if node.attrs["channels_last"] else shape
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
