"""Matrix products of two activations, with any batch axes."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.gemm import batched_gemm
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Expr
from tilewright.backends.kernels.tile import SUMMED, Vectors, choose_tile
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value
from tilewright.ir.ops.elementwise import broadcast_reader


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or node.op.name != "matmul":
        return "is not a matmul"
    if any(v.rank < 2 or v.dtype not in SUMMED or v.dtype != node.results[0].dtype for v in node.inputs):
        return "has an operand that is a vector, or neither float32 nor int32"
    return "sums nothing" if group.is_empty else ""


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    left, right = (group.tensors[v] for v in node.inputs)
    *batch, rows, columns = group.shape(node.results[0])
    rank = len(batch) + 2
    a, b = broadcast_reader(left, rank), broadcast_reader(right, rank)
    finish = group.finisher(node.results[0])

    def store(*place: Expr) -> None:
        finish(place[:-1], place[-1])

    tile = choose_tile(Vectors.of(group.target), columns, left.dtype)
    batched_gemm(group.k, tile, batch, rows, columns, left.shape[-1], a, b, store)
    return {}


RULE = Rule("batched gemm", declines, emit)
