"""Graphs given as models: they pass through, and the interpreter is their original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilewright.frontend.imported import Imported
from tilewright.ir import dims
from tilewright.ir.errors import ImportModelError
from tilewright.ir.graph import Graph, Node, Value, input_value, make_node
from tilewright.ir.op import Array


@dataclass(frozen=True)
class Interpreted:
    """A graph as a function of its inputs by name."""

    graph: Graph

    def __call__(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        from tilewright.ir.interpret import run

        return tuple(run(self.graph, inputs))

    def with_threads(self, threads: int) -> Interpreted:
        """Itself: how many threads numpy uses is not ours to say."""
        return self

    def nudged(self, seed: int) -> None:
        """None: the interpreter does as the compiled model is to do, and is not asked how well that is determined."""


def read_graph(graph: Graph, shapes: Mapping[str, int] | None = None) -> Imported:
    """Take a graph as it is, or with some of its symbolic sizes fixed. Raises ImportModelError for unknown sizes."""
    symbols = dims.symbols_of(d for value in graph.inputs for d in value.shape)
    sizes = dict(shapes or {})
    if unknown := sorted(set(sizes) - symbols):
        known = ", ".join(sorted(symbols)) or "none"
        raise ImportModelError(
            f"the graph has no symbolic size called {', '.join(unknown)}", hint=f"Its symbolic sizes are: {known}"
        )
    fixed = with_sizes(graph, sizes) if sizes else graph
    return Imported(fixed, Interpreted(fixed), "graph", {name: name for name in sorted(symbols - set(sizes))})


def with_sizes(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with symbols replaced by numbers, in types and attributes."""
    new: dict[Value, Value] = {v: input_value(v.name, v.type.bind(sizes)) for v in graph.inputs}
    for node in graph.nodes:
        new.update(zip(node.results, rebound(node, [new.get(v, v) for v in node.inputs], sizes), strict=True))
    return Graph(tuple(new[v] for v in graph.inputs), tuple(new.get(v, v) for v in graph.outputs), graph.output_names)


def rebound(node: Node, inputs: Sequence[Value], sizes: Mapping[str, int]) -> tuple[Value, ...]:
    attrs = {name: bound(value, sizes) for name, value in node.attrs.items()}
    return make_node(node.op, inputs, attrs, source=node.source, names=[r.name for r in node.results]).results


def bound(attribute: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(attribute, tuple):
        return tuple(bound(item, sizes) for item in attribute)
    if isinstance(attribute, Graph):
        return with_sizes(attribute, sizes)
    return dims.bind(attribute, dict(sizes)) if hasattr(attribute, "free_symbols") else attribute
