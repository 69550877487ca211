"""Convolution by windows of 3 x 3, channels last, in minimal filtering, where that saves enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing_winograd import SIZE, TAPS, pack_winograd, packed_winograd_shape
from tilewright.backends.kernels.tile import Vectors, choose_tile
from tilewright.backends.kernels.winograd import Winograd, winograd
from tilewright.backends.rules.made import columns_of, is_made_in_vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value

_CHANNELS = 8  # before and behind: with fewer the transforms cost as much as the products that they save
_TILES = 8  # with fewer it takes longer to read the weights, which are 4 times as many, than to multiply by them
_USED = 0.5  # of the tiles of an image, at least


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "conv":
        return "is not a convolution"
    image, weights = node.inputs[:2]
    if not node.attrs["channels_last"]:
        return "its channels come first"
    if image.dtype != "float32":
        return f"works on {image.dtype}"
    if not _has_plain_windows(node):
        return "its windows are not neighbours of 3 x 3"
    if not group.is_weight(weights):
        return "its kernel is not a constant"
    if group.is_empty:
        return "has no elements"
    least = max(_CHANNELS, Vectors.of(group.target).lanes)
    if min(int(size) for size in weights.shape[:2]) < least:
        return f"has fewer than {least} channels"
    if image not in group.body.inputs and not is_made_in_vectors(image, least):
        return "its image is computed on the way"
    return _too_small(node)


def _has_plain_windows(node: Node) -> bool:
    attrs = node.attrs
    steps = {*attrs["strides"], *attrs["dilations"], attrs["groups"]}
    return node.inputs[1].shape[2:] == (TAPS, TAPS) and steps == {1}


def _too_small(node: Node) -> str:
    """Why tiles do not suit the result, as far as its sizes are known; a batch that is not is taken for 1."""
    batch, *axes, _ = node.results[0].shape
    sizes = [size for size in axes if isinstance(size, int)]
    tiles = [math.ceil(size / SIZE) for size in sizes]
    if math.prod(sizes) <= _USED * math.prod(SIZE * count for count in tiles):
        return "its images fill few tiles"
    known = len(sizes) == len(axes)
    images = int(batch) if isinstance(batch, int) else 1
    return "its images are small" if known and images * math.prod(tiles) < _TILES else ""


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    image, weights, *bias = node.inputs
    conv = _sizes(group, node)
    tile = choose_tile(Vectors.of(group.target), conv.outputs)
    shape = packed_winograd_shape(conv.outputs, conv.channels, tile.columns)
    layouts = {weights: Layout(partial(pack_winograd, columns=tile.columns), shape)}
    group.place(layouts, node.results[0])
    finish = group.finisher(node.results[0])

    def store(n: Index, y: Index, x: Index, o: Index, value: Expr) -> None:
        finish((n, y, x, o), value + group.tensors[bias[0]](o) if bias else value)

    winograd(group.k, tile, conv, columns_of(group, image), group.inputs[weights], store)
    return layouts


def _sizes(group: Group, node: Node) -> Winograd:
    batch, rows, columns, channels = group.shape(node.inputs[0])
    _, down, across, outputs = group.shape(node.results[0])
    top, left = (group.b.dim(pad) for pad in node.attrs["pads"][:2])
    return Winograd(batch, rows, columns, int(channels), int(outputs), top, left, (down, across))


RULE = Rule("winograd", declines, emit)
