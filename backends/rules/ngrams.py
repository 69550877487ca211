"""Weights of n-grams: from every place down the trie, children found by binary search; threads share the rows."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Expr, Index, index, minimum
from tilewright.backends.kernels.ranges import product, tasks, worth_forking
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value

_COST = 50.0  # of a place and gap, in elements copied
_LOST = -1  # instead of a node: no n-gram begins so


def declines(group: Group) -> str:
    return "" if group.anchor is not None and group.anchor.op.name == "ngrams" else "weighs no n-grams"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    k, found = group.k, group.outputs[node.results[0]]
    rows, length = group.shape(node.inputs[0])
    shortest, most = node.attrs["shortest"], node.attrs["gaps"]
    with tasks(k, [rows], worth_forking(product((rows, length)), _COST)) as (row,):
        with k.serial(found.shape[1]) as j:
            k.store(found, (row, j), 0.0)
        with k.serial(minimum(most, length), 1) as gap:
            least = k.let("least", group.b.select(gap > 1, index(max(2, shortest)), index(shortest)))
            with k.serial(length) as start:
                _walk(group, row, start, gap, least)
    return {}


def _walk(group: Group, row: Index, start: Expr, gap: Expr, least: Expr) -> None:
    """The n-grams of one row that begin at `start` and have at least `least` tokens."""
    node = group.anchor
    assert node is not None
    k, length, here = group.k, group.shape(node.inputs[0])[1], group.k.local("here", (1,), "int64")
    x, _, _, column, weight = (group.tensors[v] for v in node.inputs)
    found = group.outputs[node.results[0]]
    k.store(here, (0,), 0)
    with k.serial(minimum(node.attrs["longest"], length)) as level:
        place = k.let("place", start + level * gap)
        with k.when(here[0] != _LOST), k.when(place < length):
            _descend(group, here, k.let("token", x(row, place)))
            with k.when(here[0] != _LOST), k.when(level + 1 >= least):
                at = k.let("column", column(here[0] - 1))
                with k.when(at >= 0):
                    added = weight(here[0] - 1)
                    k.store(found, (row, at), found[row, at] + added if node.attrs["summed"] else added)


def _descend(group: Group, here: Buffer, token: Expr) -> None:
    """Go to the child of the node `here` that `token` leads to."""
    assert group.anchor is not None
    k, bounds = group.k, group.k.local("bounds", (2,), "int64")
    _, tokens, first, _, _ = (group.tensors[v] for v in group.anchor.inputs)
    last = k.let("last", first(here[0] + 1))
    k.store(bounds, (0,), first(here[0]))
    k.store(bounds, (1,), last)
    with k.serial(int(group.anchor.inputs[1].shape[0]).bit_length()), k.when(bounds[0] < bounds[1]):
        middle = k.let("middle", (bounds[0] + bounds[1]) >> 1)
        k.branch(
            tokens(middle) < token,
            lambda: k.store(bounds, (0,), middle + 1),
            lambda: k.store(bounds, (1,), middle),
        )
    k.store(here, (0,), _LOST)
    with k.when(bounds[0] < last), k.when(tokens(bounds[0]) == token):
        k.store(here, (0,), bounds[0] + 1)


RULE = Rule("ngrams", declines, emit)
