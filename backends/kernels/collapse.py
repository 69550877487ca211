"""Fewer, longer axes: neighbours that every operand runs through in step become one, so that inner loops are long."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Node, Value, input_value, make_node
from tilewright.ir.op import Kind

Order: TypeAlias = "tuple[int, ...]"
Run: TypeAlias = "tuple[int, ...]"


def collapse(body: Graph) -> Graph:
    """The same graph of elementwise operators and transposes over as few axes as possible; others stay as they are.

    Inputs and outputs keep their order, and each keeps its elements in their order.
    """
    orders = _orders(body)
    if orders is None:
        return body
    shape = body.outputs[0].shape
    masks = [_spans(value, shape, order) for value, order in orders.items()]
    runs = _runs(shape, [mask for mask in masks if mask is not None], set(orders.values()))
    if any(mask is None for mask in masks) or len(runs) == len(shape):
        return body
    inner = {v: input_value(v.name, v.type.with_shape(_merged(v, orders[v], runs))) for v in body.inputs}
    for node in body.nodes:
        attrs = node.attrs
        if node.op.name == "transpose":
            before, after = (_sorted(runs, orders[v]) for v in (node.inputs[0], node.results[0]))
            attrs = {"perm": tuple(before.index(run) for run in after)}
        rebuilt = make_node(node.op, [inner[v] if v in inner else scalar(v) for v in node.inputs], attrs)
        inner.update(zip(node.results, rebuilt.results, strict=True))
    return Graph(tuple(inner[v] for v in body.inputs), (inner[body.outputs[0]],), body.output_names)


def _orders(body: Graph) -> dict[Value, Order] | None:
    """Which axis of each value an axis of the result runs along, or None for other graphs.

    Axes are those that a value has when it is broadcast. None, too, where the result reads a value along two axes.
    """
    if len(body.outputs) != 1 or not all(map(goes_by_element, body.nodes)):
        return None
    rank = body.outputs[0].rank
    orders: dict[Value, Order] = {body.outputs[0]: tuple(range(rank))}
    for node in reversed(body.nodes):
        order = orders[node.results[0]]
        if node.op.name == "transpose":
            if node.results[0].rank != rank:
                return None
            order = tuple(node.attrs["perm"][axis] for axis in order)
        if any(orders.setdefault(v, order) != order for v in node.inputs if not v.is_constant):
            return None
    return orders


def goes_by_element(node: Node) -> bool:
    """Every input is broadcast as numpy does it, or transposed; a scale along one axis is not."""
    return node.op.name == "transpose" or (node.op.kind is Kind.ELEMENTWISE and node.attrs.get("axis") is None)


def scalar(value: Value) -> Value:
    """A constant of one element without axes, so that it cannot keep any apart."""
    assert value.data is not None
    return Value(value.type.with_shape(()), data=value.data.reshape(()), name=value.name)


def _spans(value: Value, shape: Sequence[Dim], order: Order) -> tuple[bool, ...] | None:
    """For each axis of the result: does `value` run along it (or is it broadcast)? None where that is not known now."""
    sizes = _broadcast(value, order)
    spans = tuple(dims.equal(a, b) for a, b in zip(sizes, shape, strict=True))
    known = all(spanned or a == 1 for spanned, a in zip(spans, sizes, strict=True))
    return spans if known else None


def _broadcast(value: Value, order: Order) -> list[Dim]:
    """The size of `value` along each axis of the result."""
    sizes = (1,) * (len(order) - value.rank) + value.shape
    return [sizes[axis] for axis in order]


def _runs(shape: Sequence[Dim], masks: Sequence[tuple[bool, ...]], orders: Collection[Order]) -> list[Run]:
    """Axes that are neighbours in every operand, and along which each behaves alike. Those of size 1 are left out."""
    kept = [axis for axis, dim in enumerate(shape) if dim != 1]
    places = [sorted(kept, key=order.__getitem__) for order in orders]
    runs: list[Run] = []
    for axis in kept:
        last = runs[-1][-1] if runs else axis
        alike = all(mask[axis] == mask[last] for mask in masks)
        if runs and alike and all(place.index(axis) == place.index(last) + 1 for place in places):
            runs[-1] = (*runs[-1], axis)
        else:
            runs.append((axis,))
    return runs


def _sorted(runs: Sequence[Run], order: Order) -> list[Run]:
    """The runs as they follow each other in a value."""
    return sorted(runs, key=lambda run: order[run[0]])


def _merged(value: Value, order: Order, runs: Sequence[Run]) -> list[Dim]:
    if not value.rank:
        return []
    sizes = _broadcast(value, order)
    return [dims.product(sizes[axis] for axis in run) for run in _sorted(runs, order)]
