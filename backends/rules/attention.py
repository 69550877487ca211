"""Scaled dot-product attention as one kernel, which reads and writes through transposes."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.attention import Attention, attention
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr, quotient
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.ops.attention import group_size
from tilewright.ir.ops.elementwise import broadcast_reader


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "attention":
        return "is not attention"
    query, _, value = node.inputs[:3]
    if query.dtype != "float32":
        return f"works on {query.dtype}"
    if group.is_empty:
        return "sums nothing"
    static = isinstance(query.shape[3], int) and isinstance(value.shape[3], int)
    return "" if static else "its heads have a dynamic width"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    finish = group.finisher(node.results[0])

    def store(b: Expr, h: Expr, i: Expr, e: Expr, value: Expr) -> None:
        finish((b, h, i, e), value)

    attention(group.k, Vectors.of(group.target), _operands(group, node), store)
    return {}


def _operands(group: Group, node: Node) -> Attention:
    batch, heads, queries, _ = group.shape(node.results[0])
    query, key, value, *mask = (broadcast_reader(group.tensors[v], 4) for v in node.inputs)
    shared = group_size(node)
    return Attention(
        batch,
        heads,
        queries,
        keys=group.shape(node.inputs[1])[2],
        depth=int(node.inputs[0].shape[3]),
        width=int(node.inputs[2].shape[3]),
        scale=node.attrs["scale"],
        query=query,
        key=lambda b, h, j, d: key(b, quotient(h, shared), j, d),
        value=lambda b, h, j, e: value(b, quotient(h, shared), j, e),
        mask=mask[0] if mask else None,
        nan_to_zero=node.attrs["nan_to_zero"],
        softcap=node.attrs["softcap"],
        excluding=node.attrs["excluding"],
        in_rows=all(_lies_in_rows(v) for v in node.inputs[1:3]),
    )


def _lies_in_rows(value: Value) -> bool:
    """Whether no transpose before it moves the last axis."""
    turns = (node.attrs["perm"] for node in Graph((), (value,)).nodes if node.op.name == "transpose")
    return all(perm[-1] == len(perm) - 1 for perm in turns)


RULE = Rule("attention", declines, emit)
