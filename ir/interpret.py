"""Runs a graph with the numpy references of its operators: what every graph means, and the oracle for compiled code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import InputError, VerifyError
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Array, Kind
from tilewright.ir.types import TensorType, type_of

Sizes = Mapping[str, int]
DECLARED = "results"  # an attribute with types, whose sizes may be known only when the node has run


def run(graph: Graph, inputs: Mapping[str, Any] | Sequence[Any], sizes: Sizes | None = None) -> tuple[Array, ...]:
    """The outputs of `graph` for arrays given by name or in order.

    Symbolic sizes are taken from the inputs' shapes; `sizes` gives those that no input shows. Raises InputError for
    arrays that do not fit the inputs, VerifyError when a reference disagrees with the inferred types.
    """
    arrays = _in_order(graph, inputs)
    known = dict(sizes or {})
    for value, array in zip(graph.inputs, arrays, strict=True):
        _bind_input(value, array, known)
    for value, array in zip(graph.inputs, arrays, strict=True):
        _check_input(value, array, known)
    return _evaluate(graph, arrays, known)


def _in_order(graph: Graph, inputs: Mapping[str, Any] | Sequence[Any]) -> list[Array]:
    names = [v.name for v in graph.inputs]
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise InputError(f"the inputs are {', '.join(names) or 'none'}, not {', '.join(inputs) or 'none'}")
        return [np.asarray(inputs[name]) for name in names]
    if len(inputs) != len(names):
        raise InputError(f"the graph takes {len(names)} inputs ({', '.join(names)}), not {len(inputs)}")
    return [np.asarray(array) for array in inputs]


def _bind_input(value: Value, array: Array, known: dict[str, int]) -> None:
    """Learn the sizes that are plain symbols of an input's shape."""
    if array.ndim != value.rank:
        raise InputError(f"the input {value.name} is {value.type}, but an array of {array.ndim} axes was given")
    _bind_plain(value.type, array.shape, known)


def _bind_plain(type: TensorType, shape: Sequence[int], known: dict[str, int]) -> None:
    for dim, size in zip(type.shape, shape, strict=True):
        if not isinstance(dim, int) and dim.is_Symbol:
            known.setdefault(dim.name, size)


def _check_input(value: Value, array: Array, known: Sizes) -> None:
    given = type_of(array)
    if given.dtype != value.dtype:
        raise InputError(f"the input {value.name} is {value.type}, but an array of {given.dtype} was given")
    for axis, (dim, size) in enumerate(zip(value.shape, array.shape, strict=True)):
        wanted = _number(dim, known, f"axis {axis} of the input {value.name}")
        if wanted != size:
            meaning = "" if isinstance(dim, int) else f" ({dims.to_text(dim)}, as other axes have it)"
            raise InputError(f"axis {axis} of the input {value.name} must be {wanted}{meaning}, not {size}")


def _number(dim: Dim, known: Sizes, what: str) -> int:
    try:
        return dims.evaluate(dim, known)
    except KeyError as error:
        raise InputError(f"{what} is {dims.to_text(dim)}, and nothing says how much {error.args[0]} is") from error


def _evaluate(graph: Graph, arrays: Sequence[Array], known: dict[str, int]) -> tuple[Array, ...]:
    """The outputs; a value is dropped after its last reader."""
    held = dict(zip(graph.inputs, arrays, strict=True))
    held.update((value, value.data) for value in graph.constants if value.data is not None)
    pending = Counter(value for node in graph.nodes for value in node.inputs)
    pending.update(graph.outputs)
    for node in graph.nodes:
        held.update(zip(node.results, _run_node(node, [held[v] for v in node.inputs], known), strict=True))
        pending.subtract(node.inputs)
        for value in {*node.inputs, *node.results}:
            if pending[value] == 0:
                held.pop(value, None)
    return tuple(held[value] for value in graph.outputs)


def _run_node(node: Node, arrays: Sequence[Array], known: dict[str, int]) -> tuple[Array, ...]:
    if node.op.name == "with_sizes":
        known.update(zip((s.name for s in node.attrs["symbols"]), arrays[1].tolist(), strict=True))
    attrs = {n: v if n == DECLARED or _is_own(v, node) else _concrete(v, known, node) for n, v in node.attrs.items()}
    results = node.op.run(attrs, arrays)
    if len(results) != len(node.results):
        raise _disagreement(node, f"gives {len(results)} results, not {len(node.results)}")
    for value, array in zip(node.results, results, strict=True):
        if array.ndim == value.rank:
            _bind_plain(value.type, array.shape, known)
        if not _agrees(value.type, array, known):
            raise _disagreement(node, f"gives {type_of(array)}, but {value.type} was inferred")
    return results


def _is_own(value: Any, node: Node) -> bool:
    """A size that only the results of this very node will show: the reference does without it."""
    if node.op.kind is not Kind.OPAQUE or not hasattr(value, "free_symbols") or not value.is_Symbol:
        return False
    given = dims.symbols_of(d for v in node.inputs for d in v.shape)
    return dims.is_computed(value.name) and value.name not in given and any(value in r.shape for r in node.results)


def _concrete(value: Any, known: dict[str, int], node: Node) -> Any:
    """An attribute as a reference takes it: sizes as numbers, graphs as functions of arrays."""
    if isinstance(value, tuple):
        return tuple(_concrete(item, known, node) for item in value)
    if isinstance(value, Graph):
        return _function(value, known)
    if hasattr(value, "free_symbols"):
        return _number(value, known, f"a size that {node.op.name} needs")
    return value


def _function(body: Graph, known: Sizes) -> Callable[..., tuple[Array, ...]]:
    return lambda *arrays: run(body, arrays, known)


def _agrees(type: TensorType, array: Array, known: Sizes) -> bool:
    shape = tuple(dims.evaluate(d, known) for d in type.shape)
    return type_of(array).dtype == type.dtype and array.shape == shape


def _disagreement(node: Node, what: str) -> VerifyError:
    return VerifyError(f"the reference of {node.op.name} {what}", node=repr(node), source=node.source)
