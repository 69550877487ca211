"""Share common subexpressions: equal operators on equal inputs become one, and so do equal constants."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Array

SAMPLES = 16
_PART = 1 << 20  # bytes that are compared at once


def share_subexpressions(graph: Graph) -> Graph:
    """The graph in which no two nodes of the same operator have the same inputs and attributes."""
    constants = _equal_constants(graph.constants)
    first: dict[Hashable, Sequence[Value]] = {}

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        shared = tuple(constants.get(v, v) for v in inputs)
        key = (node.op.name, shared, tuple(map(_key, node.attrs.values())))
        if key not in first:
            same = all(a is b for a, b in zip(shared, node.inputs, strict=True))
            first[key] = node.results if same else node.with_inputs(shared).results
        return first[key]

    return graph.map_nodes(visit)


def _key(attribute: object) -> Hashable:
    """Tells 1, 1.0 and True apart, and 0.0 from -0.0."""
    if isinstance(attribute, tuple):
        return tuple(map(_key, attribute))
    if isinstance(attribute, Hashable):
        return (type(attribute), str(attribute) if isinstance(attribute, float) else attribute)
    return id(attribute)


def _equal_constants(constants: Sequence[Value]) -> dict[Value, Value]:
    """The first of each set of equal constants, for the others.

    A few elements tell most constants apart, so only those that agree in them are compared in full.
    """
    alike: dict[Hashable, list[Value]] = {}
    replaced: dict[Value, Value] = {}
    for value in constants:
        assert value.data is not None
        group = alike.setdefault((value.type, _sample(value.data)), [])
        twin = next((other for other in group if other.data is not None and _same(other.data, value.data)), None)
        if twin is None:
            group.append(value)
        else:
            replaced[value] = twin
    return replaced


def _sample(data: Array) -> Hashable:
    if data.size == 0:
        return ()
    picked = data.flat[:: max(1, data.size // SAMPLES)]
    return tuple(picked.tolist()) if data.dtype == object else picked.tobytes()


def _same(a: Array, b: Array) -> bool:
    """Bit for bit, so that NaN equals itself and 0.0 is not -0.0."""
    if a is b:
        return True
    if a.dtype == object:
        return bool((a == b).all())
    ours, theirs = _bits(a), _bits(b)
    parts = range(0, ours.size, _PART)
    return all(np.array_equal(ours[i : i + _PART], theirs[i : i + _PART]) for i in parts)


def _bits(data: Array) -> Array:
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
