"""What an image, or a matrix of rows, that is computed on the way consists of: all of it, or what is joined there."""

from __future__ import annotations

from tilewright.backends.kernels.group import Group
from tilewright.backends.kernels.loops import Expr, Index
from tilewright.backends.kernels.made import Piece
from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Kind


def is_made_in_vectors(value: Value, lanes: int) -> bool:
    """Whether vectors of channels, which come last, are computed where they are needed: also of values that are joined.

    Each of these has `lanes` channels at least.
    """
    nodes = Graph((), (value,)).nodes
    joints = [node for node in nodes if _joins_channels(node, lanes)]
    others = [node for node in nodes if node not in joints]
    return len(joints) <= 1 and all(
        n.op.kind is Kind.ELEMENTWISE or _resizes_places(n) or _takes_neighbours(n) for n in others
    )


def _takes_neighbours(node: Node) -> bool:
    """A slice without steps."""
    return node.op.name == "slice" and set(node.attrs["steps"]) == {1}


def _joins_channels(node: Node, lanes: int) -> bool:
    last = node.op.name == "concat" and node.attrs["axis"] == node.results[0].rank - 1
    return last and all(isinstance(v.shape[-1], int) and v.shape[-1] >= lanes for v in node.inputs)


def _resizes_places(node: Node) -> bool:
    """To the nearest ones, and not along the channels."""
    if node.op.name != "resize" or node.attrs["mode"] != "nearest":
        return False
    return dims.equal(node.inputs[0].shape[-1], node.results[0].shape[-1])


def pieces_of(group: Group, value: Value) -> list[Piece]:
    """What is joined, with the operators that follow, or all of the value."""
    read = group.tensors[value]
    joint = next((node for node in Graph((), (value,)).nodes if node.op.name == "concat"), None)
    if joint is None:
        return [Piece(0, int(value.shape[-1]), read)]
    joined, pieces, first = group.tensors[joint.results[0]], list[Piece](), 0
    whole = joined.reader
    assert whole is not None
    for operand in joint.inputs:

        def load(*index: Index, operand: Value = operand, first: int = first) -> Expr:
            joined.bind(lambda *at: group.tensors[operand](*at[:-1], at[-1] - first))
            element = read(*index[:-1], first + index[-1])
            joined.bind(whole)
            return element

        pieces.append(Piece(first, int(operand.shape[-1]), load))
        first += int(operand.shape[-1])
    return pieces
