"""Convolution with channels last and constant weights; bias and the operators behind it run on finished sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from tilewright.backends.kernels.amx_between import LEVEL
from tilewright.backends.kernels.amx_conv import emit_conv_on_amx
from tilewright.backends.kernels.amx_conv_choice import OnAmx, choose_on_amx
from tilewright.backends.kernels.conv_last import Ask, Planes, Store, emit_conv_last
from tilewright.backends.kernels.conv_last_sizes import ConvLast, run_of, tile_of
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.interleaved import emit_interleaved
from tilewright.backends.kernels.loops import Buffer, Expr, Index
from tilewright.backends.kernels.packing_conv import (
    pack_conv_dots,
    pack_conv_last,
    packed_conv_dots_shape,
    packed_conv_last_shape,
)
from tilewright.backends.kernels.packing_pieces import pack_widened
from tilewright.backends.kernels.patches import normalised
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.tile import Tile, Vectors
from tilewright.backends.rules.conv import window_axes
from tilewright.backends.rules.made import is_made_in_vectors
from tilewright.backends.rules.operands import has_planes, is_elementwise, unsuited
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.reshape import flatten


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "conv" or not node.attrs["channels_last"]:
        return "is not a convolution with channels last"
    image, weights = node.inputs[:2]
    if reason := unsuited(node, group.target, weights.shape[1]):
        return reason
    if group.is_empty:
        return "sums nothing"
    if not isinstance(image.shape[-1], int):
        return "its number of channels is dynamic"
    if not group.is_weight(weights):
        return "its kernel is not a constant"
    made = is_elementwise(image) or has_planes(image) or is_made_in_vectors(image, 1)
    return "" if image in group.body.inputs or made else "its image is computed on the way"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    image, weights, *bias = node.inputs
    conv = sizes(group, node)
    machine = Vectors.of(group.target)
    amx = choose_on_amx(machine, conv) if image.dtype == "float32" else None
    tile = tile_of(machine, conv, image.dtype)
    layouts = {weights: _for_amx(amx, conv) if amx else packed(conv, tile, weights.shape)}
    group.place(layouts, node.results[0])
    finish = group.finisher(node.results[0])

    def store(n: Index, phase: Index, places: Indices, o: Expr, value: Expr) -> None:
        finish((n, *places, o), value + group.tensors[bias[0]](o) if bias else value)

    kernel, held = group.inputs[weights], node.results[0]
    planes = image not in group.body.inputs and has_planes(image)
    if amx is None:
        source = _planes(group, image) if planes else group.made(image)
        emit_conv_last(group.k, tile, conv, source, kernel, store, ahead(group, held))
        return layouts
    if planes:
        _turn(group, image, machine)
    elif image not in group.inputs and not is_elementwise(image):
        _hold(group, image, group.made(image))
    group.k.branch(
        amx.is_for_amx(),
        lambda: emit_on_amx(group, amx, conv, (image, kernel), store, ahead(group, held, LEVEL)),
        lambda: _emit_on_vectors(group, amx, conv, (image, kernel), store, ahead(group, held)),
    )
    return layouts


def _planes(group: Group, image: Value) -> Planes:
    read = group.tensors[image]
    return Planes(lambda n, places, c: read(n, *places, c))


def _turn(group: Group, image: Value, machine: Vectors) -> None:
    """Make all of an image that is a transpose of planes, to be read as others are."""
    shape, read = group.shape(image), group.tensors[image].reader
    assert read is not None
    buffer = group.k.scratch("image", shape)
    *outer, many, few = shape

    def store(at: Indices, c: Index, x: Index, value: Expr) -> None:
        group.k.store(buffer, (*at, x, c), value)

    emit_interleaved(
        group.k, machine.lanes, image.dtype, outer, int(few), many, lambda at, c, x: read(*at, x, c), store
    )
    _hold(group, image, buffer)


def _hold(group: Group, image: Value, buffer: Buffer) -> None:
    """All of the image lies there."""
    group.inputs[image] = buffer
    group.tensors[image].bind_buffer(buffer)


def _emit_on_vectors(
    group: Group, amx: OnAmx, conv: ConvLast, operands: tuple[Value, Buffer], store: Store, ask: Ask | None
) -> None:
    """With the weights that are packed for AMX."""
    image, weights = operands
    kernel = group.k.view(weights, (1, *(int(extent) for extent in weights.shape)))
    emit_conv_last(group.k, replace(amx.tile, amx=0), conv, group.made(image), kernel, store, ask)


def emit_on_amx(
    group: Group, amx: OnAmx, conv: ConvLast, operands: tuple[Value, Buffer], store: Store, ask: Ask | None
) -> None:
    """As `emit_conv_last`, for the axes of `conv`."""
    axes, restored = normalised(conv.axes)
    image, weights = operands
    emit_conv_on_amx(
        group.k, amx, axes[-1].results, group.element(image), weights,
        lambda n, phase, places, o, value: store(n, phase, restored(places), o, value),
        None if ask is None else lambda n, phase, places, o: ask(n, phase, restored(places), o),
    )  # fmt: skip


def _for_amx(amx: OnAmx, conv: ConvLast) -> Layout:
    """Of the weights of `conv`, for what AMX computes in its place."""
    wide = normalised(conv.axes)[0][-1]
    packing = partial(
        pack_widened, taps=wide.kernel, neighbours=amx.neighbours, stride=wide.stride, run=amx.run,
        in_pieces=amx.in_pieces,
    )  # fmt: skip
    return Layout(packing, amx.packed_shape, amx.packed_dtype)


def packed(conv: ConvLast, tile: Tile, shape: Sequence[int]) -> Layout:
    """Of weights of the given shape, for `emit_conv_last` on vectors."""
    if tile.dots:
        packing = partial(pack_conv_dots, groups=conv.groups, lanes=tile.dots, run=run_of(conv))
        return Layout(packing, packed_conv_dots_shape(shape, conv.groups, tile.dots, run_of(conv)))
    packing = partial(pack_conv_last, groups=conv.groups, columns=tile.columns, steps=tile.steps)
    return Layout(packing, packed_conv_last_shape(shape, conv.groups, tile.columns, tile.steps))


def ahead(group: Group, held: Value, level: int = 1) -> Ask | None:
    """`ask(n, phase, places, channel)` for a result with channels last and one phase, if its elements stay there."""
    sizes, flat = group.shape(held), group.asker(held, level)
    if flat is None:
        return None
    return lambda n, phase, places, channel: flat(flatten((n, *places, channel), sizes))


def sizes(group: Group, node: Node) -> ConvLast:
    """The convolution `node` of a group."""
    image, weights = node.inputs[:2]
    batch, *places, channels = group.shape(image)
    axes = window_axes(group, node, places)
    return ConvLast(batch, int(channels), int(weights.shape[0]), node.attrs["groups"], axes)


RULE = Rule("conv, channels last", declines, emit)
