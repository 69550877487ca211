"""Attention and MultiHeadAttention of onnxruntime.

Masks of theirs add a large negative number, so that a query whose keys are all masked sees them all alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.frontend.onnx_ops.scaled_product import (
    Scoring,
    additive,
    attend,
    default_scale,
    followed_by,
    merge_heads,
    positions,
    split_heads,
)
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def attention(c: Call) -> tuple[Value, ...]:
    """The input projects to query, key and value; the cache [2, B, H, P, D] holds keys, then values."""
    return with_cache(c, projections(c), c.optional(3), c.optional(5), c.optional(4))


def with_cache(
    c: Call, projected: Sequence[Value], mask: Value | None, bias: Value | None, past: Value | None
) -> tuple[Value, ...]:
    """The result, and the cache grown by what was projected to query, key and value, each [B, S, H * D]."""
    if c.flag("past_present_share_buffer") or c.flag("do_rotary"):
        raise c.unsupported("shares its cache, or rotates, which is not supported yet")
    q, k, v = (split_heads(c, x, c.integer("num_heads", 0)) for x in projected)
    cached = (None, None) if past is None else tuple(one_of(c, past, i) for i in (0, 1))
    key, value = (followed_by(c, old, new) for old, new in zip(cached, (k, v), strict=True))
    result = masked_attention(c, q, key, value, mask, bias, 0 if past is None else past.shape[3])
    if not any(c.wanted[1:]):
        return (result,)
    present = [c.reshape(x, (1, *x.shape)) for x in (key, value)]
    return result, c.apply("concat", *present, axis=0)


def projections(c: Call) -> list[Value]:
    """Query, key and value, each by its own part of the weights."""
    x, weights, bias = c[0], c[1], c.optional(2)
    third = dims.floordiv(weights.shape[1], 3)
    widths: Sequence[Dim] = c.integers("qkv_hidden_sizes") or (third, third, third)
    if len(widths) != 3:
        raise c.malformed(f"has {len(widths)} hidden sizes instead of 3")
    starts = (0, widths[0], dims.add(widths[0], widths[1]))
    found = []
    for start, width in zip(starts, widths, strict=True):
        product = c.apply("matmul", x, c.slice(weights, 1, start, width))
        found.append(product if bias is None else c.apply("add", product, c.slice(bias, 0, start, width)))
    return found


def one_of(c: Call, x: Value, place: int) -> Value:
    """x[place]."""
    return c.reshape(c.slice(x, 0, place, 1), x.shape[1:])


def multi_head_attention(c: Call) -> tuple[Value, ...]:
    """Query, key and value have many forms; a bias for all three is added to what is not split into heads yet."""
    if c.optional(8) is not None or c.optional(9) is not None:
        raise c.unsupported("shares its cache, which is not supported yet")
    q, k, v = unpacked(c, c.integer("num_heads", 0))
    past_key, past_value = c.optional(6), c.optional(7)
    key, value = followed_by(c, past_key, k), followed_by(c, past_value, v)
    past = 0 if past_key is None else past_key.shape[2]
    result = masked_attention(c, q, key, value, c.optional(4), c.optional(5), past)
    return result, key, value


def unpacked(c: Call, heads: int) -> list[Value]:
    """[B, H, length, D] of [B, length, H * D], of parts of [B, length, H, 2 or 3, D], or as they are."""
    query, key, value = c[0], c.optional(1), c.optional(2)
    if query.rank == 5:
        return [picked(c, query, i) for i in range(3)]
    if key is not None and key.rank == 5:
        return [split_heads(c, biased(c, query, 0), heads), *(picked(c, key, i) for i in range(2))]
    if key is not None and value is not None and key.rank == 4:
        return [split_heads(c, biased(c, query, 0), heads), key, value]
    width = query.shape[2]
    starts: tuple[Dim, ...] = (0, width, dims.product((2, width)))
    return [split_heads(c, biased(c, c[i], start), heads) for i, start in enumerate(starts)]


def picked(c: Call, packed: Value, place: int) -> Value:
    """Part `place` of [B, length, H, parts, D] as [B, H, length, D]."""
    batch, length, heads, _, depth = packed.shape
    part = c.reshape(c.slice(packed, 3, place, 1), (batch, length, heads, depth))
    return c.transpose(part, (0, 2, 1, 3))


def biased(c: Call, x: Value, start: Dim) -> Value:
    """With its part of the bias, if there is one."""
    bias = c.optional(3)
    return x if bias is None else c.apply("add", x, c.slice(bias, 0, start, x.shape[2]))


def masked_attention(c: Call, q: Value, k: Value, v: Value, mask: Value | None, bias: Value | None, past: Dim) -> Value:
    """[B, S, H * E]: with the mask in any of its forms, a bias, and perhaps each query seeing no key after it."""
    added = None if mask is None else filtered(c, q, k, mask)
    for each in [] if bias is None else [c.cast(bias, q.dtype)]:
        added = each if added is None else c.apply("add", added, each)
    if c.flag("unidirectional"):
        causal = positions(c, q.shape[2], k.shape[2], past).causal(c)
        added = additive(c, [causal], added, q.dtype)
    scale = c.real("scale", 0.0) or default_scale(c, q)
    return merge_heads(c, attend(c, q, k, v, added, Scoring(scale)))


def filtered(c: Call, q: Value, k: Value, mask: Value) -> Value:
    """Zero where the mask allows a key, `mask_filter_value` elsewhere, to broadcast over the scores."""
    allowed = lengths_allow(c, q, k, mask) if mask.rank == 1 else matrix_allows(c, mask)
    return c.apply("where", allowed, c.constant(0, q.dtype), c.constant(c.real("mask_filter_value", -10000.0), q.dtype))


def matrix_allows(c: Call, mask: Value) -> Value:
    """[B, T] or [B, S, T], positive where a key counts."""
    if mask.rank not in (2, 3):
        raise c.unsupported(f"has a mask of {mask.rank} axes, which is not supported yet")
    shape = (mask.shape[0], 1, 1, mask.shape[1]) if mask.rank == 2 else (mask.shape[0], 1, *mask.shape[1:])
    return c.apply("greater", c.reshape(mask, shape), 0)


def lengths_allow(c: Call, q: Value, k: Value, mask: Value) -> Value:
    """[B] holds the ends of the keys; [2 * B] the ends, then the starts."""
    batch = q.shape[0]
    place = index_along(c, k.shape[2], 3, 4, dtype=mask.dtype)
    if dims.equal(mask.shape[0], batch):
        return c.apply("less", place, c.reshape(mask, (batch, 1, 1, 1)))
    if not dims.equal(mask.shape[0], dims.product((2, batch))):
        raise c.unsupported("has a packed mask, which is not supported yet")
    end, start = (c.reshape(c.slice(mask, 0, at, batch), (batch, 1, 1, 1)) for at in (0, batch))
    return c.apply("logical_and", c.apply("less", place, end), c.apply("greater_equal", place, start))


TABLE = {"com.microsoft.Attention": attention, "com.microsoft.MultiHeadAttention": multi_head_attention}
