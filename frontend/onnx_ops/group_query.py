"""GroupQueryAttention of onnxruntime: a cache that may be longer than what is in it, rotation, windows, sinks.

`seqlens_k` holds, for each of the batch, the number of keys after this call, less one. The new keys are the last of
them, but in the first call, whose length is the total length: then they begin at 0, and may end with padding.
"""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.frontend.onnx_ops.recurrence import written_into
from tilewright.frontend.onnx_ops.rotary import angles_at, rotated
from tilewright.frontend.onnx_ops.scaled_product import (
    Scoring,
    additive,
    attend,
    default_scale,
    merge_heads,
    positions,
    split_heads,
)
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value

_PLAIN = {"kv_cache_bit_width": 0, "sliding_window_cache": 0, "qk_output": 0}


def group_query_attention(c: Call) -> tuple[Value, ...]:
    """The result, the keys and the values with the new ones in place."""
    check_plain(c)
    q, k, v = heads_of(c)
    total = c.size(c[6], "a total length")
    begin = first_place(c, q.shape[2], total)
    if c.flag("do_rotary"):
        q, k = rotated_both(c, q, k, begin)
    key, value = (updated(c, c.optional(i), new, begin, total) for i, new in ((3, k), (4, v)))
    seen_key, seen_value = (c.slice(x, 2, 0, total) for x in (key, value))
    scoring = Scoring(c.real("scale", 0.0) or default_scale(c, q), c.real("softcap", 0.0))
    bias = bias_of(c, q, begin, total)
    if c.optional(11) is not None or c.integer("smooth_softmax", 0) == 1:
        seen_key, seen_value, bias = with_sink(c, (seen_key, seen_value), bias, total, q)
    return merge_heads(c, attend(c, q, seen_key, seen_value, bias, scoring)), key, value


def check_plain(c: Call) -> None:
    """Quantized and window-sized caches, norms on the way and padded chunks are for graphics cards."""
    other = [name for name, value in _PLAIN.items() if c.integer(name, value) != value]
    other += [name for name in ("k_quant_type", "v_quant_type") if c.text(name, "NONE") != "NONE"]
    other += [f"its input {place}" for place in range(12, 17) if c.optional(place) is not None]
    if other:
        raise c.unsupported(f"uses {', '.join(other)}, which is not supported yet")


def heads_of(c: Call) -> tuple[Value, Value, Value]:
    """Query, key and value [B, heads, S, D], each an input or all in the first."""
    heads, shared = c.integer("num_heads", 0), c.integer("kv_num_heads", 0)
    query, key, value = c[0], c.optional(1), c.optional(2)
    if key is None or value is None:
        if heads < 1 or shared < 1:
            raise c.malformed(f"has {heads} heads of the query and {shared} of the key")
        depth = dims.floordiv(query.shape[2], heads + 2 * shared)
        ends = [dims.product((depth, n)) for n in (heads, heads + shared)]
        width = dims.product((depth, shared))
        key, value = (c.slice(query, 2, end, width) for end in ends)
        query = c.slice(query, 2, 0, ends[0])
    return split_heads(c, query, heads), split_heads(c, key, shared), split_heads(c, value, shared)


def first_place(c: Call, queries: Dim, total: Dim) -> Value:
    """int64[B]: how many keys are before the new ones."""
    ends = c.apply("add", c.reshape(c.cast(c[5], "int64"), (c[0].shape[0],)), 1)
    begin = c.apply("sub", ends, c.size_value(queries))
    prompt = c.apply("equal", c.size_value(queries), c.size_value(total))
    return c.apply("where", prompt, c.constant(0, "int64"), begin)


def rotated_both(c: Call, q: Value, k: Value, begin: Value) -> tuple[Value, Value]:
    """Query and key turned by the angles of their places."""
    places = c.optional(9)
    if places is None:
        places = c.apply("add", c.reshape(begin, (q.shape[0], 1)), index_along(c, q.shape[2], 1, 2))
    cos, sin = (c.cast(angles_at(c, c[table], places), q.dtype) for table in (7, 8))
    interleaved = c.flag("rotary_interleaved")
    return rotated(c, q, cos, sin, interleaved=interleaved), rotated(c, k, cos, sin, interleaved=interleaved)


def updated(c: Call, past: Value | None, new: Value, begin: Value, total: Dim) -> Value:
    """The cache [B, G, P, D], lengthened to the total where it is shorter, with the new rows in it."""
    if past is None:
        past = c.expand(c.constant(0, new.dtype), (*new.shape[:2], total, new.shape[3]))
        return written_into(c, past, new, begin, 2)
    length = dims.maximum(past.shape[2], total)
    room = dims.sub(length, past.shape[2])
    longer = c.apply("pad", past, before=(0, 0, 0, 0), after=(0, 0, room, 0)) if room != 0 else past
    return written_into(c, longer, new, begin, 2)


def bias_of(c: Call, q: Value, begin: Value, total: Dim) -> Value | None:
    """Which of the first `total` keys each query sees, and what the model adds to the scores."""
    batch, window = q.shape[0], c.integer("local_window_size", -1)
    at = positions(c, q.shape[2], total, c.reshape(begin, (batch, 1, 1, 1)))
    ends = c.apply("add", c.reshape(c.cast(c[5], "int64"), (batch, 1, 1, 1)), 1)
    rules = [at.causal(c)] if c.flag("causal", True) else [c.apply("less", at.key, ends)]
    rules += at.within(c, window - 1, -1) if window > 0 else []
    given = c.optional(10)
    return additive(c, rules, None if given is None else c.cast(given, q.dtype), q.dtype)


def with_sink(
    c: Call, seen: tuple[Value, Value], bias: Value | None, total: Dim, q: Value
) -> tuple[Value, Value, Value]:
    """One more key, of zeros, whose score is that of the sink (0 if there is none): weight that goes nowhere."""
    sink = c.optional(11)
    key, value = (c.apply("pad", x, before=(0, 0, 0, 0), after=(0, 0, 1, 0)) for x in seen)
    score = c.constant(0, q.dtype) if sink is None else c.reshape(c.cast(sink, q.dtype), (1, q.shape[1], 1, 1))
    assert bias is not None
    wide = c.apply("pad", bias, before=(0,) * bias.rank, after=(*(0,) * (bias.rank - 1), 1))
    places = index_along(c, dims.add(total, 1), 3, 4)
    return key, value, c.apply("where", c.apply("equal", places, c.size_value(total)), score, wide)


TABLE = {"com.microsoft.GroupQueryAttention": group_query_attention}
