"""Activations times a weight matrix, packed when compiling; the operators behind it run on finished tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.gemm import gemm, gemm_of_scaled
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index, index
from tilewright.backends.kernels.packing import pack_b, packed_b_shape
from tilewright.backends.kernels.ranges import product as count
from tilewright.backends.kernels.scaled import pack_scaled_b, packed_scaled_b_shape
from tilewright.backends.kernels.tile import Tile, Vectors, choose_tile
from tilewright.backends.rules.operands import unsuited
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "matmul":
        return "is not a matmul"
    left, right = node.inputs
    if reason := unsuited(node, group.target, left.shape[-1]):
        return reason
    if group.is_empty:
        return "sums nothing"
    if right.rank != 2 or not group.is_weight(right) or left.rank < 2:
        return "its right operand is not a constant matrix"
    return "" if left in group.body.inputs else "its left operand is computed on the way"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    left, right = node.inputs
    depth, columns = (int(d) for d in right.shape)
    scaled = group.is_scaled(right)
    tile = choose_tile(Vectors.of(group.target), columns, left.dtype, 0 if scaled else depth)
    layouts = {right: _scaled_layout(tile, depth, columns) if scaled else _layout(tile, depth, columns)}
    group.place(layouts, held=node.results[0])
    leading = group.shape(left)[:-1]
    rows = count(leading)
    flat = group.k.view(group.inputs[left], (rows, depth))
    finish = group.finisher(node.results[0])

    def store(i: Expr, j: Expr, value: Expr) -> None:
        finish((*unflatten(i, leading), j), value)

    product = gemm_of_scaled if scaled else gemm
    product(group.k, tile, rows, columns, depth, lambda i, d: flat[i, d], group.inputs[right], store)
    return layouts


def _layout(tile: Tile, depth: int, columns: int) -> Layout:
    shape = packed_b_shape(depth, columns, tile.columns, tile.steps)
    return Layout(partial(pack_b, nb=tile.columns, steps=tile.steps), shape)


def _scaled_layout(tile: Tile, depth: int, columns: int) -> Layout:
    shape = packed_scaled_b_shape(depth, columns, tile.columns)
    return Layout(partial(pack_scaled_b, nb=tile.columns), shape, "int8")


def unflatten(flat: Expr, sizes: Sequence[Index]) -> list[Index]:
    """The indices of element `flat` of a row-major array."""
    indices: list[Index] = []
    for size in reversed(sizes[1:]):
        quotient = tirx.truncdiv(flat, index(size))
        indices.append(flat - quotient * index(size))
        flat = quotient
    return [flat, *indices[::-1]] if sizes else []


RULE = Rule("packed gemm", declines, emit)
