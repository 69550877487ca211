"""Convolution with channels last and more constant weights than a cache keeps from one row of results to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from tilewright.backends.kernels.amx_conv_choice import choose_on_amx
from tilewright.backends.kernels.conv_deep import emit_conv_deep, step_of
from tilewright.backends.kernels.conv_last_sizes import ConvLast, tile_of
from tilewright.backends.kernels.gemm import DEEP
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.packing_conv import pack_conv_last, packed_conv_last_shape
from tilewright.backends.kernels.patches import normalised
from tilewright.backends.kernels.tile import Tile, Vectors, choose_tile
from tilewright.backends.rules import conv_last
from tilewright.backends.rules.matmul import rows_ahead, unflatten
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value

_PLACES = 2048  # of an image, at most: so many read the weights seldom enough as they are, and copying costs more
_COPIED = 1 << 20  # elements of an image, at most: all images of a batch are copied with their padding


def declines(group: Group) -> str:
    if reason := conv_last.declines(group):
        return reason
    node = group.anchor
    assert node is not None
    if node.attrs["groups"] > 1:
        return "is in groups"
    if not all(isinstance(size, int) for size in (*node.inputs[0].shape[1:], *node.results[0].shape[1:])):
        return "its sizes are dynamic"
    conv = _sizes(group, node)
    if len(conv.axes) != 2:
        return "has more than two axes"
    if _places(conv) > _PLACES:
        return "its images are large"
    if _padded(conv) > _COPIED:
        return "a padded copy of its images would be large"
    if node.inputs[0].dtype == "float32" and choose_on_amx(Vectors.of(group.target), conv):
        return "AMX computes it"
    if tile_of(Vectors.of(group.target), conv, node.inputs[0].dtype).dots:
        return "has few result channels"
    tile = _tile(group, node, conv)
    if conv.terms * tile.columns * np.dtype(node.inputs[1].dtype).itemsize <= DEEP:
        return "the cache keeps its weights"
    return "" if step_of(conv, tile) else "its channels do not fall into steps"


def _sizes(group: Group, node: Node) -> ConvLast:
    conv = conv_last.sizes(group, node)
    return replace(conv, axes=normalised(conv.axes)[0])


def _tile(group: Group, node: Node, conv: ConvLast) -> Tile:
    places = _places(conv)
    return choose_tile(Vectors.of(group.target), conv.outputs, node.inputs[0].dtype, rows=places).for_rows(places)


def _padded(conv: ConvLast) -> int:
    """The elements of an image with its padding."""
    return conv.channels * math.prod(int(axis.size) + int(axis.before) + int(axis.after) for axis in conv.axes)


def _places(conv: ConvLast) -> int:
    """The results of an image."""
    return math.prod(int(axis.results) for axis in conv.axes)


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    image, weights, *bias = node.inputs
    conv = _sizes(group, node)
    tile = _tile(group, node, conv)
    packing = partial(pack_conv_last, groups=1, columns=tile.columns, steps=tile.steps)
    layouts = {weights: Layout(packing, packed_conv_last_shape(weights.shape, 1, tile.columns, tile.steps))}
    group.place(layouts, node.results[0])
    finish = group.finisher(node.results[0])
    places = group.shape(node.results[0])[:-1]

    def store(place: Index, o: Expr, value: Expr) -> None:
        finish((*unflatten(place, places), o), value + group.tensors[bias[0]](o) if bias else value)

    ask = rows_ahead(group, node.results[0], conv.outputs)
    emit_conv_deep(group.k, tile, conv, group.made(image), group.inputs[weights], store, ask)
    return layouts


RULE = Rule("conv, deep", declines, emit)
