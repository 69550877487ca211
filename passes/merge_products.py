"""Merge the products that make the queries, keys and values of one attention into a single one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Node, Value, apply, constant


@dataclass(frozen=True)
class Branch:
    """heads = reshape(x @ weights [+ bias], [..., H, D]), which only an attention reads, perhaps transposed."""

    x: Value
    weights: Value
    bias: Value | None
    heads: Value

    @property
    def count(self) -> Dim:
        """H."""
        return self.heads.shape[-2]


def merge_products(graph: Graph) -> Graph:
    """One product with the weights side by side, of which each operand of the attention is a slice.

    The slices are of heads, which attention reads in place. One large product is faster than three small ones.
    """
    replacements: dict[Value, Value] = {}
    for node in graph.nodes:
        if node.op.name != "attention":
            continue
        branches = [branch for operand in node.inputs[:3] if (branch := _branch(graph, operand)) is not None]
        for alike in _groups(branches):
            replacements.update(_merged(alike, node.source))
    return graph.substitute(replacements)


def _branch(graph: Graph, operand: Value) -> Branch | None:
    """How an operand of attention comes about, if nothing else reads any of it."""
    value = operand
    while value.made_by("transpose"):
        value = _first_input(value)
    heads = value
    if not heads.made_by("reshape") or graph.uses(heads) != 1 or heads.rank < 2:
        return None
    value, bias = _first_input(heads), None
    if value.node is not None and value.made_by("add") and graph.uses(value) == 1:
        value, bias = value.node.inputs
        if value.is_constant:
            value, bias = bias, value
    product = value.node
    if product is None or product.op.name != "matmul" or graph.uses(value) != 1:
        return None
    x, weights = product.inputs
    if not weights.is_constant or weights.rank != 2 or x.rank < 2 or not _is_bias(bias, weights):
        return None
    return Branch(x, weights, bias, heads) if _splits_columns(weights, heads) else None


def _first_input(value: Value) -> Value:
    assert value.node is not None
    return value.node.inputs[0]


def _is_bias(bias: Value | None, weights: Value) -> bool:
    return bias is None or (bias.is_constant and bias.shape == weights.shape[1:])


def _splits_columns(weights: Value, heads: Value) -> bool:
    """Whether the last two axes of `heads` are the columns of the product."""
    count, width = heads.shape[-2:]
    return isinstance(count, int) and isinstance(width, int) and count * width == weights.shape[1]


def _groups(branches: Sequence[Branch]) -> list[list[Branch]]:
    """Branches that read the same and differ in nothing but their weights and numbers of heads."""
    groups: list[list[Branch]] = []
    for branch in branches:
        alike = next((g for g in groups if _are_alike(g[0], branch)), None)
        if alike is None:
            groups.append([branch])
        elif branch not in alike:
            alike.append(branch)
    return [group for group in groups if len(group) > 1]


def _are_alike(a: Branch, b: Branch) -> bool:
    lead = (*a.heads.shape[:-2], a.heads.shape[-1]), (*b.heads.shape[:-2], b.heads.shape[-1])
    return a.x is b.x and (a.bias is None) == (b.bias is None) and dims.same_shape(*lead)


def _merged(branches: Sequence[Branch], source: str) -> dict[Value, Value]:
    first = branches[0]
    product = apply("matmul", first.x, _side_by_side([b.weights for b in branches], 1), source=_source(branches[0]))
    biases = [b.bias for b in branches if b.bias is not None]
    if biases:
        product = apply("add", product, _side_by_side(biases, 0), source=source)
    *lead, _, width = first.heads.shape
    total = sum(int(b.count) for b in branches)
    together = apply("reshape", product, shape=(*lead, total, width), source=source)
    found: dict[Value, Value] = {}
    start = 0
    for branch in branches:
        starts = (*(0 for _ in lead), start, 0)
        steps = (1,) * together.rank
        found[branch.heads] = apply(
            "slice", together, starts=starts, sizes=branch.heads.shape, steps=steps, source=source
        )
        start += int(branch.count)
    return found


def _side_by_side(values: Sequence[Value], axis: int) -> Value:
    return constant(np.concatenate([v.data for v in values if v.data is not None], axis))


def _source(branch: Branch) -> str:
    node: Node | None = branch.heads.node
    while node is not None and node.op.name != "matmul":
        node = node.inputs[0].node if node.inputs[0].node is not None else node.inputs[1].node
    return node.source if node is not None else ""
