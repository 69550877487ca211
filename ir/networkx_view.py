"""A graph as networkx sees it, for dominators, cuts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.ir.graph import Graph

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: Graph) -> networkx.DiGraph[Any]:
    """A directed graph whose vertices are the `Value`s and `Node`s themselves: value -> each reader -> its results.

    Vertices carry `kind` ("input", "constant", "result" or "operator") and `label`. An edge into an operator carries
    `places`: which of its inputs the value is. Inputs that nothing reads are there too.
    """
    import networkx

    view: networkx.DiGraph[Any] = networkx.DiGraph()
    for value in (*graph.inputs, *graph.constants):
        kind = "constant" if value.is_constant else "input"
        view.add_node(value, kind=kind, label=f"{value.name}: {value.type}")
    for node in graph.nodes:
        view.add_node(node, kind="operator", label=node.op.name)
        for value in dict.fromkeys(node.inputs):
            view.add_edge(value, node, places=tuple(i for i, v in enumerate(node.inputs) if v is value))
        for value in node.results:
            view.add_node(value, kind="result", label=str(value.type))
            view.add_edge(node, value)
    return view
