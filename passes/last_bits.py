"""Compute what is rounded to 8 bits next to the last bit as onnxruntime does.

Of numbers between two of 256 steps some are so near the middle that their last bit decides, and what follows then
differs by a whole step. Where only elementwise operators lie between integers and the rounding, every bit can be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tilewright.ir.graph import Graph, Node, Value, apply
from tilewright.ir.op import Kind

RATIONAL = {"sigmoid": "rational_sigmoid", "tanh": "rational_tanh"}
SUMS = ("add", "sub")


def last_bits(graph: Graph) -> Graph:
    """Sigmoid and tanh on the way to `quantize` become rational functions; products in sums are rounded first."""
    ways = _on_the_way(graph)
    summed = {value.node for value, in_sum in ways if in_sum and value.made_by("mul")}
    reached = {value.node for value, _ in ways}

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in reached or node.results[0].dtype != "float32":
            return None
        if node.op.name in RATIONAL:
            return (apply(RATIONAL[node.op.name], *inputs, source=node.source),)
        if node in summed:
            return (apply("unfused", *node.with_inputs(inputs).results, source=node.source),)
        return None

    return graph.map_nodes(visit)


def _on_the_way(graph: Graph) -> set[tuple[Value, bool]]:
    """The values that reach a `quantize` element by element, and whether they do so as a term of a sum."""
    waiting = [(n.inputs[0], False) for n in graph.nodes if n.op.name == "quantize"]
    found = set(waiting)
    while waiting:
        fresh = set(_read_by(*waiting.pop())) - found
        found |= fresh
        waiting += fresh
    return found


def _read_by(value: Value, in_sum: bool) -> Iterator[tuple[Value, bool]]:
    node = value.node
    if node is not None and node.op.kind in (Kind.ELEMENTWISE, Kind.INJECTIVE):
        kept = in_sum and node.op.kind is Kind.INJECTIVE
        yield from ((v, kept or node.op.name in SUMS) for v in node.inputs)
