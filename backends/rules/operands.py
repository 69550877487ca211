"""What rules ask about operands: whether they can be multiplied in register tiles, and whether they can be computed.

Tiles take numbers that are summed in their own type, or 16-bit integers in pairs. Some processors take 8 bits in fours,
the left without a sign. Matrix products take such everywhere: see the rule for them.
"""

from __future__ import annotations

from tilewright.backends.kernels.pairs import WEIGHTS, has_pairs
from tilewright.backends.kernels.tile import SUMMED
from tilewright.backends.target import Target
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Kind
from tilewright.ir.quads import QUAD


def unsuited(node: Node, target: Target, depth: Dim) -> str:
    """Why tiles cannot sum the node's products over neighbours, `depth` of them; "" if they can."""
    left, right = (v.dtype for v in node.inputs[:2])
    total = node.results[0].dtype
    if left == right == total and left in SUMMED:
        return ""
    if (left, right, total) == ("uint8", "int8", "int32") and target.sums_neighbours:
        return "" if isinstance(depth, int) and depth % QUAD == 0 else "sums no whole quads of 8-bit products"
    if left != "int16" or right not in WEIGHTS or total != "int32":
        return f"sums products of {left} and {right} as {total}"
    if not has_pairs(target):
        return "the processor has no instruction for pairs of 16-bit integers"
    return "" if isinstance(depth, int) and depth % 2 == 0 else "sums an odd number of 16-bit products"


def is_depthwise(node: Node) -> bool:
    """A convolution of float32 images, channels last, of which each has a kernel of its own."""
    image, weights = node.inputs[:2]
    last = node.op.name == "conv" and node.attrs["channels_last"] and image.dtype == "float32"
    return bool(last and 1 < node.attrs["groups"] == image.shape[-1] == weights.shape[0])


def is_elementwise(image: Value) -> bool:
    """Whether elementwise operators make it of inputs of its shape and of scalars."""
    nodes = Graph((), (image,)).nodes
    shaped = [v for node in nodes for v in node.inputs if v.type.size != 1]
    alike = all(dims.same_shape(v.shape, image.shape) and not v.is_constant for v in (image, *shaped))
    return alike and all(node.op.kind is Kind.ELEMENTWISE for node in nodes)


def has_planes(image: Value) -> bool:
    """Whether it is a transpose of an image of few channels, which come first, with elementwise operators around it."""
    nodes = Graph((), (image,)).nodes
    turns = [node for node in nodes if node.op.name == "transpose"]
    return len(turns) == 1 and turns[0].attrs["perm"] == (0, *range(2, image.rank), 1)
