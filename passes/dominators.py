"""Post-dominators of a graph's nodes."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from tilewright.ir.graph import Graph, Node


def post_dominators(graph: Graph) -> Mapping[Node | None, Node | None]:
    """For each node the first one that every way from it to an output passes; None where that is the end itself.

    "A Simple, Fast Dominance Algorithm" (Cooper, Harvey, Kennedy, 2001), which without cycles takes one pass.
    """
    after: dict[Node | None, Node | None] = {}
    depth: dict[Node | None, int] = {None: 0}

    def meet(a: Node | None, b: Node | None) -> Node | None:
        while a is not b:
            a, b = (after[a], b) if depth[a] >= depth[b] else (a, after[b])
        return a

    for node in reversed(graph.nodes):
        ways: list[Node | None] = [reader for r in node.results for reader in graph.readers.get(r, ())]
        after[node] = functools.reduce(meet, [*ways, *(None for r in node.results if graph.is_output(r))])
        depth[node] = depth[after[node]] + 1
    return after
