"""Fold constant factors and summands into the weights and biases of the contraction beside them: batch norm vanishes.

A factor goes into the weights before or behind it, a summand behind a convolution becomes its bias. This reassociates,
so results change by rounding; a product that is not finite is left alone.
"""

from __future__ import annotations

import numpy as np

from tilewright.ir.graph import Graph, Node, Value, constant
from tilewright.ir.op import Array
from tilewright.passes.patterns import Match, Pattern, Patterns, uniform
from tilewright.passes.rewrite import Decline, Replacement, rewrite, rule
from tilewright.passes.rules_algebra import is_float

CONVS = ("conv", "conv_transpose")


def _conv(p: Patterns, x: Pattern, w: Pattern, b: Pattern) -> Pattern:
    """A convolution by constant weights, with or without a bias."""
    weights = p.constant(w)
    return p.either(p.op(CONVS, x, weights), p.op(CONVS, x, weights, p.constant(b))).named("y")


def along(c: Array, rank: int, axis: int, size: int) -> Array | None:
    """`c` as one number for each of the `size` places of `axis`, or None where it differs along another axis."""
    if c.ndim > rank:
        return None
    shape = (1,) * (rank - c.ndim) + c.shape
    if any(d != 1 for a, d in enumerate(shape) if a != axis):
        return None
    return np.broadcast_to(c.reshape(-1), (size,))


def _scaled_outputs(node: Node, w: Array, c: Array) -> Array:
    """The weights of a convolution whose output channels are multiplied by `c`."""
    if node.op.name == "conv":
        return w * c.reshape(-1, *(1,) * (w.ndim - 1))
    groups = node.attrs["groups"]
    grouped = w.reshape(groups, -1, *w.shape[1:]) * c.reshape(groups, 1, -1, *(1,) * (w.ndim - 2))
    return grouped.reshape(w.shape)


def _scaled_inputs(node: Node, w: Array, c: Array) -> Array:
    """The weights of a convolution whose input channels are multiplied by `c`."""
    if node.op.name == "conv_transpose":
        return w * c.reshape(-1, *(1,) * (w.ndim - 1))
    groups = node.attrs["groups"]
    grouped = w.reshape(groups, -1, *w.shape[1:]) * c.reshape(groups, 1, -1, *(1,) * (w.ndim - 2))
    return grouped.reshape(w.shape)


def _finite(*arrays: Array | None) -> bool:
    return all(a is not None and bool(np.isfinite(a).all()) for a in arrays)


def _by_channel(c: Value, x: Value, node: Node, size: int) -> Array | None:
    """`c` as one number for each of the `size` channels of `x`, which the convolution `node` reads or makes."""
    assert c.data is not None
    return along(c.data, x.rank, x.rank - 1 if node.attrs.get("channels_last") else 1, size)


def _results(node: Node, w: Value) -> int:
    """The number of channels that a convolution makes."""
    return int(w.shape[0] if node.op.name == "conv" else w.shape[1] * node.attrs["groups"])


@rule(lambda p, x, w, b, c: p.mul(_conv(p, x, w, b), p.constant(c, is_float)))
def factor_behind_conv(match: Match, x: Value, w: Value, c: Value, y: Value, b: Value | None = None) -> Replacement:
    assert y.node is not None and w.data is not None and c.data is not None
    factor = _by_channel(c, y, y.node, _results(y.node, w))
    if factor is None:
        return Decline("the factor differs along other axes than the channels")
    weights = _scaled_outputs(y.node, w.data, factor)
    biases = [] if b is None or b.data is None else [b.data * factor]
    return _conv_again(match, y.node, x, weights, *biases)


@rule(lambda p, x, w, b, c: p.add(_conv(p, x, w, b), p.constant(c, is_float)))
def summand_behind_conv(match: Match, x: Value, w: Value, c: Value, y: Value, b: Value | None = None) -> Replacement:
    assert y.node is not None and w.data is not None and c.data is not None
    bias = _by_channel(c, y, y.node, _results(y.node, w))
    if bias is None:
        return Decline("the summand differs along other axes than the channels")
    return _conv_again(match, y.node, x, w.data, bias if b is None or b.data is None else b.data + bias)


@rule(lambda p, x, w, b, c: _conv(p, p.mul(x, p.constant(c, is_float)), w, b))
def factor_before_conv(match: Match, x: Value, w: Value, c: Value, y: Value, b: Value | None = None) -> Replacement:
    assert y.node is not None and w.data is not None and c.data is not None
    size = w.shape[0] if y.node.op.name == "conv_transpose" else w.shape[1] * y.node.attrs["groups"]
    factor = _by_channel(c, x, y.node, size)
    if factor is None:
        return Decline("the factor differs along other axes than the channels")
    biases = [] if b is None or b.data is None else [b.data]
    return _conv_again(match, y.node, x, _scaled_inputs(y.node, w.data, factor), *biases)


def _conv_again(match: Match, node: Node, x: Value, *parameters: Array) -> Replacement:
    if not _finite(*parameters):
        return Decline("the weights would not be finite")
    constants = [constant(np.ascontiguousarray(a)) for a in parameters]
    return match.apply(node.op.name, x, *constants, **node.attrs)


@rule(lambda p, x, w, c: p.mul(p.matmul(x, p.constant(w)), p.constant(c, is_float)))
def factor_behind_matmul(match: Match, x: Value, w: Value, c: Value) -> Replacement:
    assert w.data is not None and c.data is not None
    factor = along(c.data, match.root.rank, match.root.rank - 1, w.shape[-1]) if w.rank >= 2 else None
    if factor is None or not _finite(weights := w.data * factor):
        return Decline("the factor differs along other axes than the columns, or the weights would not be finite")
    return match.apply("matmul", x, constant(weights))


@rule(lambda p, x, w, c: p.matmul(p.mul(x, p.constant(c, is_float)), p.constant(w)))
def factor_before_matmul(match: Match, x: Value, w: Value, c: Value) -> Replacement:
    assert w.data is not None and c.data is not None
    factor = along(c.data, x.rank, x.rank - 1, w.shape[-2]) if w.rank >= 2 and x.rank else None
    if factor is None or not _finite(weights := w.data * factor[:, None]):
        return Decline("the factor differs along other axes than the rows, or the weights would not be finite")
    return match.apply("matmul", x, constant(weights))


@rule(lambda p, x, w, b, c: p.mul(p.add(p.matmul(x, p.constant(w)).named("y"), p.constant(b)), p.constant(c, is_float)))
def factor_behind_bias(match: Match, x: Value, w: Value, b: Value, c: Value, y: Value) -> Replacement:
    """(y + b) * c is y * c + b * c, where the weights take in the first factor."""
    assert b.data is not None and c.data is not None
    if along(c.data, y.rank, y.rank - 1, y.shape[-1]) is None or not _finite(b.data * c.data):
        return Decline("the factor differs along other axes than the columns, or the bias would not be finite")
    return match.apply("add", match.apply("mul", y, c), constant(b.data * c.data))


@rule(lambda p, x, c: p.sub(x, p.constant(c, is_float)))
def difference(match: Match, x: Value, c: Value) -> Replacement:
    assert c.data is not None
    return match.apply("add", x, constant(-c.data))


@rule(lambda p, x, c, d: p.mul(p.mul(x, p.constant(c, is_float)), p.constant(d)))
def two_factors(match: Match, x: Value, c: Value, d: Value) -> Replacement:
    assert c.data is not None and d.data is not None
    return _once(match, "mul", x, c, d, c.data * d.data)


@rule(lambda p, x, c, d: p.add(p.add(x, p.constant(c, is_float)), p.constant(d)))
def two_summands(match: Match, x: Value, c: Value, d: Value) -> Replacement:
    assert c.data is not None and d.data is not None
    return _once(match, "add", x, c, d, c.data + d.data)


def _once(match: Match, op: str, x: Value, c: Value, d: Value, both: Array) -> Replacement:
    if both.shape not in (c.shape, d.shape) or not _finite(both):
        return Decline("the two constants differ along different axes, or together are not finite")
    return match.apply(op, x, constant(both))


@rule(lambda p, x, c: p.mul(p.op(("reshape", "transpose"), x).named("moved"), p.constant(c, is_float)))
def factor_before_move(match: Match, x: Value, c: Value, moved: Value) -> Replacement:
    """A factor that is one number may as well come first, where it may meet weights."""
    number = uniform(c)
    if number is None or moved.node is None:
        return Decline("the factor is not one number")
    product = match.apply("mul", x, constant(number, c.dtype))
    return match.apply(moved.node.op.name, product, **moved.node.attrs)


RULES = (
    difference,
    two_factors,
    two_summands,
    factor_behind_bias,
    factor_behind_conv,
    summand_behind_conv,
    factor_before_conv,
    factor_behind_matmul,
    factor_before_matmul,
    factor_before_move,
)


def fold_scales(graph: Graph) -> Graph:
    """The graph in which weights take in the constant factors beside them, and biases the summands."""
    with np.errstate(over="ignore", invalid="ignore"):
        return rewrite(graph, RULES)
