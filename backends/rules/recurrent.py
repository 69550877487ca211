"""Recurrent layers, compiled as loops over time; constant recurrent weights are packed when compiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Expr, Index, ceildiv, index, minimum
from tilewright.backends.kernels.packing import pack_gates, packed_b_shape
from tilewright.backends.kernels.packing_quads import pack_quad_gates, packed_quads_shape
from tilewright.backends.kernels.pairs import WEIGHTS, has_pairs
from tilewright.backends.kernels.quads import has_quads
from tilewright.backends.kernels.quantized_cells import QuantizedLstm
from tilewright.backends.kernels.ranges import maximum, nested, product, tasks, worth_forking
from tilewright.backends.kernels.recurrent import Layer, Load, Task, walk
from tilewright.backends.kernels.recurrent_cells import Gru, Lstm, Rnn
from tilewright.backends.kernels.tile import Tile, Vectors, choose_tile
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.elementwise import broadcast_reader
from tilewright.ir.ops.recurrent import ALL_STEPS, DIRECTIONS

CELLS: Mapping[str, tuple[type[Lstm] | type[Gru] | type[Rnn], int]] = {
    "lstm": (Lstm, 4),
    "quantized_lstm": (QuantizedLstm, 4),
    "gru": (Gru, 3),
    "rnn": (Rnn, 1),
}
"""The cell of each operator row, and its gates."""
_PARAMETERS = {"lstm": (3,), "quantized_lstm": (4, 4, 3), "gru": (1,), "rnn": ()}  # widths of the last inputs, in H

_ROWS = 4  # of a tile: batches are small, and each height is a piece of code


def declines(group: Group) -> str:
    named = group.anchor is not None and group.anchor.op.name in CELLS
    return "" if named else "is not a recurrent layer"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    cell, gates = CELLS[node.op.name]
    weights = node.inputs[1]
    tile = _tile(group, weights)
    layouts = {weights: _layout(tile, weights, gates)} if group.is_weight(weights) else {}
    group.place(layouts, node.results[0])
    packed = group.inputs[weights] if layouts else _packed(group, tile, weights, gates)
    layer = _layer(group, node, tile, gates, packed)

    def prepare(task: Task, direction: int) -> Callable[[Expr], None]:
        return cell(task, node.attrs, direction).step

    walk(group.k, group.b, tile, layer, group.target.cores, prepare, alike=_alike(node))
    return layouts


def _tile(group: Group, weights: Value) -> Tile:
    machine = Vectors.of(group.target)
    if weights.dtype == "float64":
        machine = replace(machine, lanes=machine.lanes // 2)
    dtype, spare = weights.dtype, 0
    if dtype in WEIGHTS:
        dtype = "int16" if has_pairs(group.target) else "int32"
        if has_quads(group.target) and (found := group.spare_quads(weights)) is not None:
            dtype, spare = "uint8", found
    tile = choose_tile(machine, group.b.dim(weights.shape[2]), dtype, spare=spare)
    return replace(tile, rows=min(tile.rows, _ROWS))


def _layout(tile: Tile, weights: Value, gates: int) -> Layout:
    directions, _, hidden = (int(d) for d in weights.shape)
    if tile.dtype == "uint8":
        blocks, *block = packed_quads_shape(hidden, hidden, tile.columns, tile.spare)
        in_quads = partial(pack_quad_gates, gates=gates, nb=tile.columns, spare=tile.spare)
        return Layout(in_quads, (directions, gates * blocks, *block))
    blocks, *block = packed_b_shape(hidden, hidden, tile.columns, tile.steps)
    packing = partial(pack_gates, gates=gates, nb=tile.columns, steps=tile.steps)
    return Layout(packing, (directions, gates * blocks, *block))


def _packed(group: Group, tile: Tile, weights: Value, gates: int) -> Buffer:
    """Weights that are computed, in the layout of constant ones."""
    k, b, read = group.k, group.b, group.tensors[weights]
    directions, _, hidden = group.shape(weights)
    blocks, depths = ceildiv(hidden, tile.columns), ceildiv(hidden, tile.steps)
    shape = (directions, gates * blocks, depths, tile.columns * tile.steps)
    buffer = k.scratch("packed", shape, weights.dtype)
    with tasks(k, (directions, gates, blocks), worth_forking(product(shape), 1.0)) as (d, g, block):
        first = k.let("first", index(block * tile.columns))

        def element(depth: Index, column: Index) -> Expr:
            row, inside = first + column, first + column < hidden
            if tile.steps > 1:
                inside = b.logical_and(inside, index(depth) < hidden)
            return b.guard(inside, lambda: read(d, g * hidden + row, depth), b.const(0, weights.dtype))

        with nested(k, (depths, tile.columns, tile.steps)) as (depth, column, step):
            place = (d, g * blocks + block, depth, column * tile.steps + step)
            k.store(buffer, place, element(depth * tile.steps + step, column))
    return buffer


def _layer(group: Group, node: Node, tile: Tile, gates: int, packed: Buffer) -> Layer:
    def recurrent(*place: Index) -> Expr:
        return packed[place] if tile.steps > 1 else group.b.cast(packed[place], tile.dtype)

    states = len(node.results) - 1
    x, *initial = (group.tensors[v] for v in (node.inputs[0], *node.inputs[2 : 2 + states]))
    rest = [group.tensors[v] for v in node.inputs[3 + states :]]
    steps, _, batch, hidden = group.shape(node.results[0])
    return Layer(
        dtype=node.inputs[0].dtype,
        gates=gates,
        backward=DIRECTIONS[node.attrs["direction"]],
        steps=steps,
        batch=batch,
        hidden=hidden,
        x=x,
        weights=recurrent,
        initial=[broadcast_reader(tensor, 3) for tensor in initial],
        lengths=_lengths(group, node.inputs[2 + states], steps),
        extra=list(zip(_PARAMETERS[node.op.name], rest, strict=False)),
        every=group.outputs[node.results[0]],
        last=[group.outputs[v] for v in node.results[1:]],
    )


def _lengths(group: Group, value: Value, steps: Index) -> Load | None:
    """Within 0 and `steps`; None where the model says nothing about them."""
    if value.data is not None and int(value.data.reshape(-1)[0]) == ALL_STEPS:
        return None
    read = broadcast_reader(group.tensors[value], 1)
    return lambda b: index(minimum(maximum(index(read(b)), 0), steps))


def _alike(node: Node) -> bool:
    """Whether both directions have the same activations."""
    if len(DIRECTIONS[node.attrs["direction"]]) == 1:
        return True
    names = ("activations", "alpha", "beta")
    halves = [(v[: len(v) // 2], v[len(v) // 2 :]) for v in (node.attrs[name] for name in names)]
    return all(first == second for first, second in halves)


RULE = Rule("recurrent", declines, emit)
