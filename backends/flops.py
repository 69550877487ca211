"""How much arithmetic an operator does: the numerator of the ledger's GFLOP/s."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Node
from tilewright.ir.op import Kind


def _matmul(node: Node) -> Dim:
    return dims.product((2, *node.results[0].shape, node.inputs[0].shape[-1]))


def _conv(node: Node) -> Dim:
    return dims.product((2, *node.results[0].shape, *node.inputs[1].shape[1:]))


def _conv_transpose(node: Node) -> Dim:
    return dims.product((2, *node.inputs[0].shape, *node.inputs[1].shape[1:]))


def _attention(node: Node) -> Dim:
    query, key, value = (v.shape for v in node.inputs[:3])
    scores = dims.product((2, *query[:3], key[2], query[3]))
    return dims.add(scores, dims.product((2, *query[:3], key[2], value[3])))


def _recurrent(node: Node) -> Dim:
    """The product of the state with the recurrent weights, in every step and direction."""
    return dims.product((2, *node.results[0].shape, node.inputs[1].shape[1]))


CONTRACTIONS: dict[str, Callable[[Node], Dim]] = {
    "matmul": _matmul,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "attention": _attention,
    "gru": _recurrent,
    "lstm": _recurrent,
    "quantized_lstm": _recurrent,
    "rnn": _recurrent,
}


def flops(nodes: Iterable[Node]) -> Dim:
    """Floating-point operations of `nodes`: a multiply-add counts two, other operators one for each element."""
    return dims.as_dim(sum(_of(node) for node in nodes))


def _of(node: Node) -> Dim:
    if node.op.name in CONTRACTIONS:
        return CONTRACTIONS[node.op.name](node)
    if node.op.kind is Kind.REDUCTION:
        return node.inputs[0].type.size
    return node.results[0].type.size if node.op.kind is Kind.ELEMENTWISE else 0
