"""Narrow tables: rows of a dequantized table are looked up first and dequantized then, so that it stays 8 bits wide.

Else fold_constants makes a table of floats, four times as large, of which a run reads a few rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.ir.graph import Graph, Node, Value, apply, make_node
from tilewright.ir.types import numpy_dtype

ARITHMETIC = ("cast", "add", "sub", "mul", "div")
LEAST = 1 << 20  # bytes of a table of floats that is worth it
NARROW = 2  # times smaller than it, at least, is what it is made of


def narrow_tables(graph: Graph) -> Graph:
    """Gathers of rows from what is computed of constants, element by element, are made of gathers from the constants.

    Only where nothing but such gathers reads the table, and the constants are much smaller than it is.
    """
    tables = {node.inputs[0] for node in graph.nodes if _takes_rows(node)}
    chosen = {table for table in tables if _is_narrow(graph, table)}
    replacements = {
        node.results[0]: _Rows(node.inputs[0], node.inputs[1], node.source).of(node.inputs[0])
        for node in graph.nodes
        if _takes_rows(node) and node.inputs[0] in chosen
    }
    return graph.substitute(replacements)


def _takes_rows(node: Node) -> bool:
    return node.op.name == "gather" and node.attrs["axis"] == 0


def _is_narrow(graph: Graph, table: Value) -> bool:
    readers = graph.readers[table]
    if not table.type.is_static or graph.is_output(table) or not all(map(_takes_rows, readers)):
        return False
    parts = _parts(graph, table)
    size = bytes_of(table)
    return bool(parts) and size >= LEAST and NARROW * sum(map(bytes_of, parts)) <= size


def _parts(graph: Graph, table: Value) -> Sequence[Value]:
    """The constants that a table is computed from; none if it is one itself, or computed from other things too."""
    parts: list[Value] = []
    pending = [table]
    while pending:
        value = pending.pop()
        if value.is_constant and value is not table:
            parts.append(value)
        elif value.node is None or not _goes_by_rows(value.node) or (value is not table and graph.uses(value) != 1):
            return ()
        else:
            pending.extend(value.node.inputs)
    return parts


def _goes_by_rows(node: Node) -> bool:
    if node.op.name == "dequantize":
        return not (node.attrs["axis"] == 0 and node.attrs["block"])
    return node.op.name in ARITHMETIC


def bytes_of(value: Value) -> int:
    """Of a value whose sizes are all known."""
    return math.prod(map(int, value.shape)) * numpy_dtype(value.dtype).itemsize


@dataclass(frozen=True)
class _Rows:
    """What belongs to the rows of `table` at `indices`: the axes of the indices take the place of its first axis."""

    table: Value
    indices: Value
    source: str

    def of(self, value: Value) -> Value:
        if value.rank < self.table.rank:
            return value
        if value.shape[0] != self.table.shape[0]:  # it is 1
            return self._apply("reshape", value, shape=value.shape[1:])
        if value.node is None:
            return self._taken(value)
        if value.node.op.name == "dequantize":
            return self._dequantized(value.node)
        inputs = [self.of(v) for v in value.node.inputs]
        return make_node(value.node.op, inputs, value.node.attrs, source=value.node.source).results[0]

    def _dequantized(self, node: Node) -> Value:
        q, *parameters = node.inputs
        axis, block = node.attrs["axis"], node.attrs["block"]
        rows = self._taken(q)
        if axis == 0:
            return self._scaled(rows, *map(self._taken, parameters))
        if axis is not None:
            axis += self.indices.rank - 1
        parameters = [self._taken(p) if block else p for p in parameters]
        return self._apply("dequantize", rows, *parameters, axis=axis, block=block)

    def _scaled(self, rows: Value, scale: Value, zero_point: Value | None = None) -> Value:
        """Rows with a scale each."""
        wide = self._apply("cast", rows, to="int32")
        if zero_point is not None:
            wide = self._apply("sub", wide, self._spread(self._apply("cast", zero_point, to="int32")))
        return self._apply("mul", self._apply("cast", wide, to=scale.dtype), self._spread(scale))

    def _spread(self, parameter: Value) -> Value:
        """[rows] -> [rows, 1, ...]"""
        return self._apply("reshape", parameter, shape=(*parameter.shape, *[1] * (self.table.rank - 1)))

    def _taken(self, value: Value) -> Value:
        return self._apply("gather", value, self.indices, axis=0)

    def _apply(self, name: str, *inputs: Value, **attrs: object) -> Value:
        return apply(name, *inputs, source=self.source, **attrs)
