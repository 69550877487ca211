"""The nodes of an ONNX graph in an order in which they can be read, and whether its names make sense."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Iterator, Sequence

from onnx import GraphProto, NodeProto

from tilewright.frontend.onnx_ops.call import describe
from tilewright.ir.errors import ImportModelError


def ordered(graph: GraphProto, outside: Callable[[str], bool]) -> list[NodeProto]:
    """The nodes, each after those it reads; `outside` tells which names the graphs around it have.

    Raises ImportModelError for names made twice or never, and for cycles.
    """
    stored = (*graph.initializer, *(s.values for s in graph.sparse_initializer))
    given = require_unique([t.name for t in stored], "initializer")
    declared = require_unique([i.name for i in graph.input], "input")
    maker = makers(graph.node, given | declared)
    known = given | declared | set(maker) | {""}
    reads: dict[int, set[int]] = {}
    for index, node in enumerate(graph.node):
        for name in reads_of(node):
            if name not in known and not outside(name):
                raise ImportModelError(
                    f"a node reads '{name}', which nothing in the model makes", source=describe(node)
                )
        reads[index] = {maker[name] for name in reads_of(node) if name in maker}
    require_outputs(graph, lambda name: name in known or outside(name))
    try:
        return [graph.node[index] for index in graphlib.TopologicalSorter(reads).static_order()]
    except graphlib.CycleError as error:
        circle = ", ".join(describe(graph.node[index]) for index in error.args[1][:-1])
        raise ImportModelError(f"nodes of the model read each other in a circle: {circle}") from error


def require_unique(names: Sequence[str], what: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise ImportModelError(f"the model has two {what}s called '{name}'" if name else f"an {what} has no name")
        seen.add(name)
    return seen


def makers(nodes: Sequence[NodeProto], taken: set[str]) -> dict[str, int]:
    """The node that makes each name."""
    found: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name in found or name in taken:
                raise ImportModelError(f"the name '{name}' is given to two values", source=describe(node))
            if name:
                found[name] = index
    return found


def reads_of(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, also in the graphs of its attributes, from outside of those."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = {name for n in graph.node for name in n.output} | {i.name for i in graph.input}
            inner |= {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
            names = (name for n in graph.node for name in reads_of(n))
            yield from (name for name in (*names, *(o.name for o in graph.output)) if name not in inner)


def require_outputs(graph: GraphProto, known: Callable[[str], bool]) -> None:
    if not graph.output:
        raise ImportModelError("the model has no outputs")
    for name in require_unique([o.name for o in graph.output], "output"):
        if not known(name):
            raise ImportModelError(f"the model's output '{name}' is made by nothing in the model")
