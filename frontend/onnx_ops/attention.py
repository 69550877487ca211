"""Attention of ONNX, opset 23 and newer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.scaled_product import (
    Scoring,
    Steps,
    additive,
    attend,
    attend_in_steps,
    default_scale,
    followed_by,
    merge_heads,
    positions,
    split_heads,
)
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS


def attention(c: Call) -> tuple[Value, ...]:
    """The result, the keys and values with those of the cache before them, and the scores at the stage asked for."""
    q, k, v = operands(c)
    check_cache(c)
    key, value = followed_by(c, c.optional(4), k), followed_by(c, c.optional(5), v)
    bias = bias_of(c, q, key.shape[2])
    scoring = Scoring(scale_of(c, q), c.real("softcap", 0.0), precision_of(c))
    if any(c.wanted[3:]):
        steps = attend_in_steps(c, q, key, value, bias, scoring)
        return shaped(c, steps.result), key, value, wanted_scores(c, steps)
    return shaped(c, attend(c, q, key, value, bias, scoring)), key, value


def operands(c: Call) -> tuple[Value, ...]:
    """Query, key and value as [B, heads, length, width]."""
    values = (c[0], c[1], c[2])
    if any(x.rank != c[0].rank for x in values) or c[0].rank not in (3, 4):
        raise c.malformed(f"has inputs of {[x.rank for x in values]} axes instead of 3 or 4 each")
    if c[0].rank == 4:
        return values
    names = ("q_num_heads", "kv_num_heads", "kv_num_heads")
    return tuple(split_heads(c, x, c.integer(name, 0)) for x, name in zip(values, names, strict=True))


def shaped(c: Call, result: Value) -> Value:
    return result if c[0].rank == 4 else merge_heads(c, result)


def check_cache(c: Call) -> None:
    past_key, past_value, lengths = (c.optional(i) for i in (4, 5, 6))
    if (past_key is None) != (past_value is None):
        raise c.malformed("has a cache of keys or of values, but not of both")
    if lengths is not None and past_key is not None:
        raise c.malformed("has both a cache and the lengths of an external one")


def scale_of(c: Call, q: Value) -> float:
    return c.real("scale", 0.0) if c.has("scale") else default_scale(c, q)


def precision_of(c: Call) -> str | None:
    if not c.has("softmax_precision"):
        return None
    precision = c.dtype("softmax_precision")
    if precision not in FLOATS:
        raise c.malformed(f"computes softmax in {precision}, which is no floating-point type")
    return precision


def wanted_scores(c: Call, steps: Steps) -> Value:
    stages = (steps.product, steps.capped, steps.biased, steps.weights)
    mode = c.integer("qk_matmul_output_mode", 0)
    if not 0 <= mode < len(stages):
        raise c.malformed(f"has the unknown qk_matmul_output_mode {mode}")
    return stages[mode]


def bias_of(c: Call, q: Value, keys: Dim) -> Value | None:
    """Mask, causality, window and the lengths of the cache as one addend of the scores, or None."""
    mask = mask_over(c, keys)
    allowed = [*hidden_by_place(c, q.shape[2], keys)]
    if mask is not None and mask.dtype == "bool":
        allowed.insert(0, mask)
        mask = None
    return additive(c, allowed, None if mask is None else c.cast(mask, q.dtype), q.dtype)


def mask_over(c: Call, keys: Dim) -> Value | None:
    """The mask, from opset 24 on lengthened to all keys, which it excludes where it says nothing about them."""
    mask = c.optional(3)
    if mask is None or c.version < 24 or not mask.rank or dims.equal(mask.shape[-1], keys):
        return mask
    before, after = [0] * mask.rank, [0] * mask.rank
    after[-1] = dims.sub(keys, mask.shape[-1])
    fill = 0 if mask.dtype == "bool" else -np.inf
    return c.apply("pad", mask, before=tuple(before), after=tuple(after), value=fill)


def hidden_by_place(c: Call, queries: Dim, keys: Dim) -> Sequence[Value]:
    """For each rule on places, where it allows a query to see a key."""
    left, right = (c.integer(f"{side}_window_size", -1) for side in ("left", "right"))
    if min(left, right) < -1:
        raise c.malformed(f"has a window of {left} keys before and {right} after each query")
    lengths = each_of_batch(c, c.optional(6))
    past = c.optional(4)
    if lengths is not None:
        count = c.size_value(queries)
        at = positions(c, queries, keys, c.apply("sub", lengths, count))
    else:
        at = positions(c, queries, keys, 0 if past is None else past.shape[2])
    rules = [at.causal(c)] if c.flag("is_causal") else []
    rules += at.within(c, left, right)
    return rules if lengths is None else [*rules, c.apply("less", at.key, lengths)]


def each_of_batch(c: Call, lengths: Value | None) -> Value | None:
    """[B] as [B, 1, 1, 1]."""
    return None if lengths is None else c.reshape(c.cast(lengths, "int64"), (lengths.type.size, 1, 1, 1))


TABLE = {"Attention": attention}
