"""Activations times a weight matrix, packed when compiling; the operators behind it run on finished tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.amx_between import LEVEL
from tilewright.backends.kernels.amx_bytes import STEP, bytes_tile_on_amx
from tilewright.backends.kernels.amx_gemm import tile_on_amx
from tilewright.backends.kernels.amx_pieces import pieces_tile
from tilewright.backends.kernels.gemm import worth_sharing
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, Index, index
from tilewright.backends.kernels.made import made_rows, make_rows
from tilewright.backends.kernels.matmul import matmul
from tilewright.backends.kernels.packing import pack_b, packed_b_shape
from tilewright.backends.kernels.packing_pieces import SIDE, pack_pieces, packed_pieces_shape
from tilewright.backends.kernels.packing_quads import pack_quads, packed_quads_shape
from tilewright.backends.kernels.pairs import has_pairs
from tilewright.backends.kernels.quads import has_quads
from tilewright.backends.kernels.ranges import product as count
from tilewright.backends.kernels.scaled import pack_scaled_b, packed_scaled_b_shape
from tilewright.backends.kernels.tile import Ahead, Tile, Vectors, choose_tile
from tilewright.backends.rules.made import columns_of, is_made_in_vectors
from tilewright.backends.rules.operands import unsuited
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value
from tilewright.ir.quads import QUAD


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "matmul":
        return "is not a matmul"
    left, right = node.inputs
    if not _is_in_quads(group, left, right) and (reason := unsuited(node, group.target, left.shape[-1])):
        return reason
    if group.is_empty:
        return "sums nothing"
    if right.rank != 2 or not group.is_weight(right) or left.rank < 2:
        return "its right operand is not a constant matrix"
    made = left.dtype == "float32" and isinstance(left.shape[-1], int) and is_made_in_vectors(left, 1)
    return "" if left in group.body.inputs or made else "its left operand is computed on the way"


def _is_in_quads(group: Group, left: Value, right: Value) -> bool:
    """Whether the products are of 8 bits and can be summed in fours, or in pairs where the processor has no more."""
    if left.dtype != "uint8" or group.spare_quads(right) is None or int(right.shape[0]) % QUAD:
        return False
    return has_quads(group.target) or has_pairs(group.target)


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    left, right = node.inputs
    depth, columns = (int(d) for d in right.shape)
    tile, layout = _stored(group, left, right)
    layouts = {right: layout}
    group.place(layouts, node.results[0])
    leading = group.shape(left)[:-1]
    rows = count(leading)
    finish = group.finisher(node.results[0])
    ahead = rows_ahead(group, node.results[0], columns, level=LEVEL if tile.amx else 1)

    def store(i: Expr, j: Expr, value: Expr) -> None:
        finish((*unflatten(i, leading), j), value)

    multiply = partial(matmul, group.k, tile, columns=columns, depth=depth, b=group.inputs[right],
                       scaled=group.is_scaled(right))  # fmt: skip
    worth = worth_sharing(rows, columns, depth)
    if left in group.inputs:
        multiply(rows=rows, a=group.k.view(group.inputs[left], (rows, depth)), store=store, ahead=ahead)
        return layouts
    parts = columns_of(group, left)
    if tile.amx and not tile.in_pieces:  # it splits the matrix for all rows that it has at once
        made = make_rows(group.k, tile.lanes, leading, parts, worth)
        multiply(rows=rows, a=made, store=store, ahead=ahead)
        return layouts
    with made_rows(group.k, tile.lanes, leading, parts, SIDE if tile.amx else tile.rows, worth) as (top, height, made):
        multiply(
            rows=height, a=made, store=lambda i, j, value: store(top + i, j, value),
            ahead=ahead and (lambda r, c: ahead(top + r, c)), shared=False,
        )  # fmt: skip
    return layouts


def rows_ahead(group: Group, held: Value, columns: int, level: int = 1) -> Ahead | None:
    """`ahead(row, column)` for the elements of `held` as rows of so many columns, if they stay where they are."""
    ask = group.asker(held, level)
    return None if ask is None else lambda row, column: ask(row * columns + column)


def _stored(group: Group, left: Value, right: Value) -> tuple[Tile, Layout]:
    """The register tile, and how the weights lie in memory for it."""
    machine, spare, dtype = Vectors.of(group.target), group.spare_quads(right), left.dtype
    depth, columns = (int(d) for d in right.shape)
    known = all(isinstance(size, int) for size in left.shape)
    rows = math.prod(int(size) for size in left.shape[:-1]) if known else None
    if group.is_scaled(right):
        tile = tile_on_amx(machine, columns, depth, rows, 1) or choose_tile(machine, columns, dtype, rows=rows)
        shape = packed_scaled_b_shape(depth, columns, tile.columns)
        return tile, Layout(partial(pack_scaled_b, nb=tile.columns), shape, "int8")
    if dtype == "uint8" and spare is not None and has_quads(group.target):
        tile = bytes_tile_on_amx(machine, depth, rows) or choose_tile(machine, columns, dtype, spare, rows)
        multiple = STEP if tile.amx else QUAD
        shape = packed_quads_shape(depth, columns, tile.columns, spare, multiple)
        return tile, Layout(partial(pack_quads, nb=tile.columns, spare=spare, multiple=multiple), shape)
    least = math.prod(int(size) for size in left.shape[:-1] if isinstance(size, int))
    if dtype == "float32" and (in_pieces := pieces_tile(machine, columns, depth, least)):
        return in_pieces, Layout(pack_pieces, packed_pieces_shape(depth, columns), "uint16")
    amx = tile_on_amx(machine, columns, depth, rows) if dtype == "float32" else None
    tile = amx or choose_tile(machine, columns, "int16" if dtype == "uint8" else dtype, rows=rows)
    shape = packed_b_shape(depth, columns, tile.columns, tile.steps)
    return tile, Layout(partial(pack_b, nb=tile.columns, steps=tile.steps), shape)


def unflatten(flat: Expr, sizes: Sequence[Index]) -> list[Index]:
    """The indices of element `flat` of a row-major array."""
    indices: list[Index] = []
    for size in reversed(sizes[1:]):
        quotient = tirx.truncdiv(flat, index(size))
        indices.append(flat - quotient * index(size))
        flat = quotient
    return [flat, *indices[::-1]] if sizes else []


RULE = Rule("packed gemm", declines, emit)
