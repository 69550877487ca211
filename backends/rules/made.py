"""What an image, or a matrix of rows, that is computed on the way consists of: all of it, or what is joined there."""

from __future__ import annotations

from tilewright.backends.kernels.group import Group
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.made import Columns
from tilewright.ir.graph import Graph, Value
from tilewright.ir.vectors import joint_of, made_in_vectors


def is_made_in_vectors(value: Value, lanes: int) -> bool:
    """Whether vectors of channels, which come last, are computed where they are needed: also of values that are joined.

    Each of these has `lanes` channels at least.
    """
    return made_in_vectors(Graph((), (value,)).nodes, lanes)


def columns_of(group: Group, value: Value) -> list[Columns]:
    """Those of each value that is joined, with the operators that follow, or all of the value."""
    read, joint = group.tensors[value], joint_of(Graph((), (value,)).nodes)
    if joint is None:
        return [Columns(0, int(value.shape[-1]), read)]
    joined, found, first = group.tensors[joint.results[0]], list[Columns](), 0
    whole = joined.reader
    assert whole is not None
    for operand in joint.inputs:

        def load(*index: Index, operand: Value = operand, first: int = first) -> Expr:
            joined.bind(lambda *at: group.tensors[operand](*at[:-1], at[-1] - first))
            element = read(*index[:-1], first + index[-1])
            joined.bind(whole)
            return element

        found.append(Columns(first, int(operand.shape[-1]), load))
        first += int(operand.shape[-1])
    return found
