"""Scaled dot-product attention in parts, which the attention operators of ONNX and of onnxruntime share.

B is the batch, H the heads of the query, G those of key and value (H is a multiple of G), S the queries, T the keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.frontend.onnx_ops.reduction import SHORT, softmax
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.ops.precision import accumulator


@dataclass(frozen=True)
class Scoring:
    """How products of queries and keys become weights; softmax in `precision`, or as exact as comes for nothing."""

    scale: float
    softcap: float = 0.0
    precision: str | None = None


@dataclass(frozen=True)
class Steps:
    """All that attention computes: scores [B, H, S, T] at four stages, and the result [B, H, S, E]."""

    product: Value
    capped: Value
    biased: Value
    weights: Value
    result: Value


def split_heads(c: Call, x: Value, heads: int) -> Value:
    """[B, S, H * D] as [B, H, S, D]."""
    if heads < 1 or x.rank != 3:
        raise c.malformed(f"has {heads} heads for a tensor of {x.rank} axes")
    if isinstance(x.shape[2], int) and x.shape[2] % heads:
        raise c.malformed(f"splits {x.shape[2]} channels into {heads} heads")
    parts = (*x.shape[:2], heads, dims.floordiv(x.shape[2], heads))
    return c.transpose(c.reshape(x, parts), (0, 2, 1, 3))


def merge_heads(c: Call, x: Value) -> Value:
    """[B, H, S, D] as [B, S, H * D]."""
    batch, heads, length, width = x.shape
    return c.reshape(c.transpose(x, (0, 2, 1, 3)), (batch, length, dims.product((heads, width))))


def followed_by(c: Call, past: Value | None, x: Value) -> Value:
    """The rows [B, G, P, D] of a cache, then those of x [B, G, S, D]."""
    return x if past is None else c.apply("concat", c.cast(past, x.dtype), x, axis=2)


def default_scale(c: Call, q: Value) -> float:
    return 1.0 / math.sqrt(c.static(q.shape[-1], "a head width"))


def attend(c: Call, q: Value, k: Value, v: Value, bias: Value | None, scoring: Scoring) -> Value:
    """[B, H, S, E]; a query whose keys are all excluded gives zeros. 16-bit floats are computed in float32."""
    if softmax_rounds(q, k, scoring.precision):
        return attend_in_steps(c, q, k, v, bias, scoring).result
    operands = [c.cast(x, accumulator(q.dtype)) for x in (q, k, v, bias) if x is not None]
    attrs = {"scale": scoring.scale, "softcap": scoring.softcap, "excluding": bias is not None}
    return c.cast(c.apply("attention", *operands, **attrs), q.dtype)


def softmax_rounds(q: Value, k: Value, precision: str | None) -> bool:
    """Whether softmax has to be in another type than the one that sums are made in."""
    if precision is None:
        return q.dtype == "bfloat16" and isinstance(k.shape[2], int) and k.shape[2] <= SHORT
    return precision not in (q.dtype, accumulator(q.dtype))


def attend_in_steps(c: Call, q: Value, k: Value, v: Value, bias: Value | None, scoring: Scoring) -> Steps:
    """The same where scores are wanted. Queries that share a head of the keys become rows of one product."""
    shared = heads_for_each(c, q, k)
    batch, heads, queries, _ = q.shape
    folded, square = (batch, k.shape[1], dims.product((shared, queries))), (batch, heads, queries, k.shape[2])
    root = math.sqrt(abs(scoring.scale))
    scaled_q = c.apply("mul", c.reshape(q, (*folded, q.shape[3])), math.copysign(root, scoring.scale))
    scaled_k = c.transpose(c.apply("mul", k, root), (0, 1, 3, 2))
    product = c.reshape(c.apply("matmul", scaled_q, scaled_k), square)
    capped = product
    if scoring.softcap:
        capped = c.apply("mul", c.apply("tanh", c.apply("div", product, scoring.softcap)), scoring.softcap)
    biased = capped if bias is None else c.apply("add", capped, bias)
    weights = softmax_of(c, biased, bias, scoring.precision)
    mixed = c.apply("matmul", c.reshape(weights, (*folded, k.shape[2])), c.cast(v, q.dtype))
    return Steps(product, capped, biased, weights, c.reshape(mixed, (*square[:3], v.shape[3])))


def softmax_of(c: Call, scores: Value, bias: Value | None, precision: str | None) -> Value:
    """Softmax along the keys; zeros where the bias excludes them all."""
    weights = c.cast(softmax(c, c.cast(scores, precision or scores.dtype), 3), scores.dtype)
    if bias is None:
        return weights
    hidden = c.apply("isinf", c.reduce("max", bias, (bias.rank - 1,)), positive=False, negative=True)
    return c.apply("where", hidden, c.constant(0, weights.dtype), weights)


def heads_for_each(c: Call, q: Value, k: Value) -> int:
    """How many heads of the query share one of the key."""
    if dims.equal(q.shape[1], k.shape[1]):
        return 1
    heads, groups = (c.static(x.shape[1], "a number of heads") for x in (q, k))
    if groups < 1 or heads % groups:
        raise c.malformed(f"has {heads} heads of the query for {groups} of the key")
    return heads // groups


@dataclass(frozen=True)
class Positions:
    """Where queries and keys are: `query` [S, 1] or [B, 1, S, 1] counts the keys before each, `key` [1, T]."""

    query: Value
    key: Value

    def causal(self, c: Call) -> Value:
        """Each query sees the keys up to its own place."""
        return c.apply("less_equal", self.key, self.query)

    def within(self, c: Call, left: int, right: int) -> list[Value]:
        """Each query sees `left` keys before its place and `right` after it; a negative number is no limit."""
        ahead = c.apply("sub", self.key, self.query)
        limits = [c.apply("greater_equal", ahead, -left)] if left >= 0 else []
        return [*limits, c.apply("less_equal", ahead, right)] if right >= 0 else limits


def positions(c: Call, queries: Dim, keys: Dim, offset: Value | Dim) -> Positions:
    """The first query is at `offset`: a size, or one for each of the batch as [B, 1, 1, 1]."""
    first = offset if isinstance(offset, Value) else c.size_value(offset)
    return Positions(c.apply("add", index_along(c, queries, 0, 2), first), index_along(c, keys, 1, 2))


def additive(c: Call, allowed: Sequence[Value], mask: Value | None, dtype: str) -> Value | None:
    """What to add to scores: `mask` where all of `allowed` are true, -inf elsewhere."""
    if not allowed:
        return mask
    everywhere = reduce(lambda a, b: c.apply("logical_and", a, b), allowed)
    lowest = c.constant(-np.inf, dtype)
    return c.apply("where", everywhere, c.constant(0, dtype) if mask is None else mask, lowest)
