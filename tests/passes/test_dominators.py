"""Post-dominators beside those that networkx finds."""

from __future__ import annotations

import networkx
from hypothesis import given

from tests.strategies import graphs
from tilewright.ir import Array, Graph
from tilewright.ir.parse import parse
from tilewright.passes.dominators import post_dominators

END = "end"


@given(graphs())
def test_they_are_those_of_networkx(drawn: tuple[Graph, tuple[Array, ...]]) -> None:
    graph = drawn[0]
    flow: networkx.DiGraph = networkx.DiGraph()
    flow.add_node(END)
    for value, readers in graph.readers.items():
        flow.add_edges_from((reader, value.node) for reader in readers if value.node is not None)
    flow.add_edges_from((END, value.node) for value in graph.outputs if value.node is not None)
    found = networkx.immediate_dominators(flow, END)
    assert post_dominators(graph) == {n: None if found[n] is END else found[n] for n in graph.nodes}


def test_ways_that_part_meet_again() -> None:
    text = "graph(x: float32[4]) { a = neg(x) b = exp(a) c = tanh(a) d = add(b, c) e = abs(d) return e, d }"
    graph = parse(text)
    a, b, c, d, e = graph.nodes
    assert post_dominators(graph) == {a: d, b: d, c: d, d: None, e: None}
