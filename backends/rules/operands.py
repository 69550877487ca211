"""What register tiles multiply: numbers that are summed in their own type, or 16-bit integers in pairs.

Matrix products also take unsigned 8 bits, in fours or pairs: see the rule for them.
"""

from __future__ import annotations

from tilewright.backends.kernels.pairs import WEIGHTS, has_pairs
from tilewright.backends.kernels.tile import SUMMED
from tilewright.backends.target import Target
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Node


def unsuited(node: Node, target: Target, depth: Dim) -> str:
    """Why tiles cannot sum the node's products over neighbours, `depth` of them; "" if they can."""
    left, right = (v.dtype for v in node.inputs[:2])
    total = node.results[0].dtype
    if left == right == total and left in SUMMED:
        return ""
    if left != "int16" or right not in WEIGHTS or total != "int32":
        return f"sums products of {left} and {right} as {total}"
    if not has_pairs(target):
        return "the processor has no instruction for pairs of 16-bit integers"
    return "" if isinstance(depth, int) and depth % 2 == 0 else "sums an odd number of 16-bit products"
