"""Fewer, longer axes: neighbours that every operand runs through in step become one, so that inner loops are long."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Node, Value, input_value
from tilewright.ir.op import Kind


def collapse(body: Graph) -> Graph:
    """The same elementwise graph over as few axes as its broadcasts allow; other graphs stay as they are.

    Inputs and outputs keep their order, and each keeps its elements in their order.
    """
    if len(body.outputs) != 1 or not all(map(_goes_by_element, body.nodes)):
        return body
    shape = body.outputs[0].shape
    values = [*body.inputs, *(r for node in body.nodes for r in node.results)]
    masks = [_spans(value, shape) for value in values]
    runs = _runs(shape, [mask for mask in masks if mask is not None])
    if any(mask is None for mask in masks) or len(runs) == len(shape):
        return body
    inner = {v: input_value(v.name, v.type.with_shape(_merged(v, shape, runs))) for v in body.inputs}
    for node in body.nodes:
        rebuilt = node.with_inputs([inner[v] if v in inner else _scalar(v) for v in node.inputs])
        inner.update(zip(node.results, rebuilt.results, strict=True))
    return Graph(tuple(inner[v] for v in body.inputs), (inner[body.outputs[0]],), body.output_names)


def _goes_by_element(node: Node) -> bool:
    """Every input is broadcast as numpy does it; a scale along one axis is not."""
    return node.op.kind is Kind.ELEMENTWISE and node.attrs.get("axis") is None


def _scalar(value: Value) -> Value:
    """A constant of one element without axes, so that it cannot keep any apart."""
    assert value.data is not None
    return Value(value.type.with_shape(()), data=value.data.reshape(()), name=value.name)


def _spans(value: Value, shape: Sequence[Dim]) -> tuple[bool, ...] | None:
    """For each axis of the result: does `value` run along it (or is it broadcast)? None where that is not known now."""
    padded = (1,) * (len(shape) - value.rank) + value.shape
    spans = tuple(dims.equal(a, b) for a, b in zip(padded, shape, strict=True))
    known = all(spanned or a == 1 for spanned, a in zip(spans, padded, strict=True))
    return spans if known else None


def _runs(shape: Sequence[Dim], masks: Sequence[tuple[bool, ...]]) -> list[list[int]]:
    """Neighbouring axes along which every operand behaves alike. Axes of size 1 are left out."""
    runs: list[list[int]] = []
    for axis in (a for a, dim in enumerate(shape) if dim != 1):
        if runs and all(mask[axis] == mask[runs[-1][-1]] for mask in masks):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def _merged(value: Value, shape: Sequence[Dim], runs: Sequence[Sequence[int]]) -> list[Dim]:
    if not value.rank:
        return []
    padded = (1,) * (len(shape) - value.rank) + value.shape
    return [dims.product(padded[axis] for axis in run) for run in runs]
