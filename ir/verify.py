"""Checks every rule of the IR. The pipeline runs this after each pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import TypeInferenceError, VerifyError
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Kind
from tilewright.ir.types import type_of


def verify(graph: Graph, verified: Collection[Node] = frozenset()) -> None:
    """Raises VerifyError, naming the node, unless the graph keeps every rule:

    - Inputs are inputs and differ; their names are unique, and so are the names of the outputs.
    - Nothing is read that is not an input, a constant or a result; of a body, too: it captures nothing.
    - A constant's data has its type. Attributes are complete, and of kinds that the text form can hold.
    - The types of results are what the operator infers.
    - A symbolic size is that of an input, or of a result whose size depends on data.

    Nodes never change: of those in `verified`, which an earlier graph had, types and attributes are right.
    """
    _verify(graph, set(), verified)


def _verify(graph: Graph, outer_symbols: set[str], verified: Collection[Node]) -> None:
    _check_signature(graph)
    _check_reach(graph)
    for value in graph.constants:
        _check_constant(value)
    known = outer_symbols | dims.symbols_of(d for v in graph.inputs for d in v.shape)
    for node in graph.nodes:
        if node not in verified:
            _check_types(node)
        known |= _declared(node)
        _check_symbols(node, known)
        for body in _bodies(node.attrs.values()):
            _verify(body, known, verified)


def _check_signature(graph: Graph) -> None:
    for value in graph.inputs:
        if not value.is_input:
            raise VerifyError(f"{value!r} is listed as an input, but it is computed or constant")
    _check_unique("inputs", [v.name for v in graph.inputs])
    _check_unique("outputs", graph.output_names)
    if len(set(graph.inputs)) < len(graph.inputs):
        raise VerifyError("an input is listed twice")


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise VerifyError(f"two {what} are called {name!r}")
        seen.add(name)


def _check_reach(graph: Graph) -> None:
    given = set(graph.inputs)
    for node in graph.nodes:
        for value in node.inputs:
            if value.is_input and value not in given:
                raise _fault(node, f"it reads {value!r}, which is not an input of the graph")
            if value.node is not None and value.node.results[value.index] is not value:
                raise _fault(node, f"it reads {value!r}, which is not among the results of {value.node!r}")
    for value in graph.outputs:
        if value.is_input and value not in given:
            raise VerifyError(f"the output {value!r} is not an input of the graph")


def _check_constant(value: Value) -> None:
    if value.data is None or type_of(value.data) != value.type:
        raise VerifyError(f"the data of {value!r} is {value.data if value.data is None else type_of(value.data)}")


def _check_types(node: Node) -> None:
    for name, attribute in node.attrs.items():
        if not _is_attribute(attribute):
            raise _fault(node, f"the attribute {name} is a {type(attribute).__name__}, which no attribute may be")
    try:
        inferred = node.op.result_types([v.type for v in node.inputs], node.op.complete(node.attrs))
    except TypeInferenceError as error:
        raise _fault(node, error.message) from error
    stored = tuple(v.type for v in node.results)
    if inferred != stored:
        raise _fault(node, f"its results are {_listed(stored)}, but {_listed(inferred)} is inferred")


def _is_attribute(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_attribute(item) for item in value)
    plain = value is None or type(value) in (bool, int, float, str) or isinstance(value, Graph)
    return plain or hasattr(value, "free_symbols")


def _check_symbols(node: Node, known: set[str]) -> None:
    used = dims.symbols_of((*_sizes(node.attrs.values()), *(d for v in node.results for d in v.shape)))
    if used - known:
        raise _fault(node, f"nothing says how much {', '.join(sorted(used - known))} is")


def _declared(node: Node) -> set[str]:
    """The symbols that this node gives a number: in its results' sizes, as opaque operators may, or by name."""
    if node.op.name == "with_sizes":
        return {s.name for s in node.attrs["symbols"]}
    if node.op.kind is not Kind.OPAQUE or node.op.name == "fused":
        return set()
    return {d.name for v in node.results for d in v.shape if not isinstance(d, int) and d.is_Symbol}


def _sizes(attributes: Iterable[Any]) -> Iterator[Dim]:
    for value in attributes:
        if isinstance(value, tuple):
            yield from _sizes(value)
        elif hasattr(value, "free_symbols"):
            yield value


def _bodies(attributes: Iterable[Any]) -> list[Graph]:
    return [value for value in attributes if isinstance(value, Graph)]


def _listed(types: Iterable[object]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _fault(node: Node, message: str) -> VerifyError:
    shown = f"{node.op.name}({', '.join(str(v.type) for v in node.inputs)})"
    return VerifyError(f"{node.op.name}: {message}", node=shown, source=node.source)
