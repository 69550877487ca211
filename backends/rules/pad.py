"""Padding, with the elementwise operators before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr
from tilewright.backends.kernels.padded import Padding, emit_padded
from tilewright.backends.kernels.ranges import noted
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.op import Kind


def _pad(group: Group) -> Node | None:
    pads = [n for n in group.body.nodes if n.op.name == "pad"]
    return pads[0] if len(pads) == 1 else None


def declines(group: Group) -> str:
    node = _pad(group)
    if group.anchor is not None or node is None or len(group.body.outputs) > 1 or not node.results[0].rank:
        return "is not one padding"
    if 0 in node.inputs[0].shape:
        return "what is padded is empty"
    if node.attrs["mode"] == "constant" and node.results[0].dtype == "bfloat16":
        return "no vector is full of one bfloat16"
    if not _is_finished_by_element(group, node.results[0]):
        return "what is padded is moved or joined"
    before, after = node.attrs["before"], node.attrs["after"]
    repeated = [axis for axis, size in enumerate(node.results[0].shape) if size != 1]
    if node.attrs["mode"] != "constant" and any(before[axis] != 0 or after[axis] != 0 for axis in repeated[:-1]):
        return "repeats the array along several axes, or between others"
    return ""


def _is_finished_by_element(group: Group, padded: Value) -> bool:
    """Whether all that follows computes elements at their own places."""
    found = {padded}
    for node in group.body.nodes:
        if not found.isdisjoint(node.inputs):
            if node.op.kind is not Kind.ELEMENTWISE or node.results[0].shape != padded.shape:
                return False
            found.update(node.results)
    return group.body.outputs[0] in found


def emit(group: Group) -> Mapping[Value, Layout]:
    node = _pad(group)
    assert node is not None
    x, padded = node.inputs[0], node.results[0]
    group.place({})
    anywhere = group.tensors[padded].reader
    assert anywhere is not None
    before, after = ([group.b.dim(width) for width in node.attrs[side]] for side in ("before", "after"))
    outside = _filled(group, node) if node.attrs["mode"] == "constant" else anywhere
    padding = Padding(group.shape(x), before, after, group.tensors[x], outside, anywhere)
    emit_padded(group.k, Vectors.of(group.target), padding, group.finisher(padded))
    return {}


def _filled(group: Group, node: Node) -> Callable[..., Expr]:
    """A variable: TVM would compute what follows from a constant, which it refuses for 1 / 0 and gets wrong for NaN."""
    fill = noted(group.k, group.b.const(node.attrs["value"], node.results[0].dtype), "fill")
    return lambda *_: fill


RULE = Rule("pad", declines, emit)
