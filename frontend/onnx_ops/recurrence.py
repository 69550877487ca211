"""Operators that carry a state from call to call: linear attention, causal convolution, caches written in place."""

from __future__ import annotations

import math

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.ir import dims
from tilewright.ir.graph import Value

GATES = {"linear": (), "gated": ("decay",), "delta": ("rate",), "gated_delta": ("decay", "rate")}


def unpacked(c: Call, x: Value, heads: int) -> Value:
    """[B, T, H * D] as [B, T, H, D]."""
    if heads < 1 or x.rank != 3 or (isinstance(x.shape[2], int) and x.shape[2] % heads):
        raise c.malformed(f"cannot split {x.type} into {heads} heads")
    return c.reshape(x, (*x.shape[:2], heads, dims.floordiv(x.shape[2], heads)))


def linear_attention(c: Call) -> tuple[Value, ...]:
    """Heads are packed; without a state it begins with zeros, of the query's element type."""
    if c.integer("state_window", 0):
        raise c.unsupported("keeps a window of states, which is not supported yet")
    heads, shared = c.integer("q_num_heads", 0), c.integer("kv_num_heads", 0)
    q, k, v = (unpacked(c, c[i], n) for i, n in enumerate((heads, shared, shared)))
    q = repeated(c, q, shared)
    past = c.optional(3)
    empty = (k.shape[0], shared, k.shape[3], v.shape[3])
    state = c.expand(c.constant(0, q.dtype), empty) if past is None else past
    found = gates(c, shared)
    scale = c.real("scale", 0.0) or 1 / math.sqrt(c.static(k.shape[3], "a head width"))
    result, last = c.apply_all(
        "linear_attention",
        *(q, k, v, state, *found.values()),
        scale=scale,
        decayed="decay" in found,
        corrected="rate" in found,
    )
    return c.reshape(result, (*result.shape[:2], dims.product(result.shape[2:]))), last


def gates(c: Call, heads: int) -> dict[str, Value]:
    """The decay [B, T, H, D or 1] and the rate [B, T, H or 1, 1] that the rule asks for."""
    rule = c.text("update_rule", "gated_delta")
    if rule not in GATES:
        raise c.malformed(f"has the unknown rule '{rule}'")
    for place, name in ((4, "decay"), (5, "rate")):
        if (c.optional(place) is not None) != (name in GATES[rule]):
            raise c.malformed(f"has the rule {rule}, which does not fit its inputs")
    found = {}
    if "decay" in GATES[rule]:
        found["decay"] = unpacked(c, c[4], heads)
    if "rate" in GATES[rule]:
        found["rate"] = c.reshape(c[5], (*c[5].shape, 1))
    return found


def repeated(c: Call, q: Value, heads: int) -> Value:
    """Fewer heads of the query than of the keys: each is used for several."""
    few = c.static(q.shape[2], "a number of heads")
    if few >= heads:
        return q
    if heads % few:
        raise c.malformed(f"has {few} heads of the query for {heads} of the key")
    wide = c.expand(c.reshape(q, (*q.shape[:3], 1, q.shape[3])), (*q.shape[:3], heads // few, q.shape[3]))
    return c.reshape(wide, (*q.shape[:2], heads, q.shape[3]))


def causal_convolution(c: Call) -> tuple[Value, ...]:
    """A depthwise convolution of x [B, C, L] that sees the last k - 1 places of the call before."""
    x, w, past = c[0], c[1], c.optional(3)
    if x.rank != 3 or w.rank != 3 or w.shape[1] != 1:
        raise c.malformed(f"needs x [B, C, L] and w [C, 1, k], but has {x.type} and {w.type}")
    dilation = c.integer("dilation", 1)
    carried = (c.static(w.shape[2], "a kernel size") - 1) * dilation
    if past is None:
        whole = c.apply("pad", x, before=(0, 0, carried), after=(0, 0, 0)) if carried else x
    else:
        whole = c.apply("concat", past, x, axis=2) if carried else x
    bias = c.optional(2)
    result = c.apply(
        "conv",
        *([whole, w] if bias is None else [whole, w, bias]),
        strides=(1,),
        pads=(0, 0),
        dilations=(dilation,),
        groups=c.static(x.shape[1], "a number of channels"),
    )
    return activated(c, result), c.slice(whole, 2, x.shape[2], carried)


def activated(c: Call, x: Value) -> Value:
    activation = c.text("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise c.malformed(f"has the unknown activation '{activation}'")
    if activation == "none":
        return x
    wide = c.cast(x, "float32") if x.dtype != "float64" else x
    return c.cast(c.apply("mul", wide, c.apply("sigmoid", wide)), x.dtype)


def microsoft_causal_convolution(c: Call) -> tuple[Value, ...]:
    """Along one spatial axis, channels first; the rest is for graphics cards."""
    plain = {"ndim": 1, "channels_last": 0, "state_window": 0, "state_update_capacity": 0, "input_channels": 0}
    if other := [name for name, value in plain.items() if c.integer(name, value) != value]:
        raise c.unsupported(f"sets {', '.join(other)}, which is not supported yet")
    return causal_convolution(c)


def tensor_scatter(c: Call) -> Value:
    """The cache with an update from a place of each batch on, around its end in the mode circular."""
    cache, update = c[0], c[1]
    axis, mode = c.axis(c.integer("axis", -2), cache.rank), c.text("mode", "linear")
    if axis == 0 or mode not in ("linear", "circular") or update.rank != cache.rank:
        raise c.malformed(f"writes along the axis {axis} in the mode '{mode}', an update {update.type}")
    return written_into(c, cache, update, c.optional(2), axis, circular=mode == "circular")


def written_into(
    c: Call, cache: Value, update: Value, begin: Value | None, axis: int, *, circular: bool = False
) -> Value:
    """Each place of the cache asks which place of the update it gets, if any.

    The update is gathered by its second axis, so that rows are read whole; `begin` is int64[B], zeros if left out.
    """
    if update.shape[axis] == 0:
        return cache
    batch, length = cache.shape[0], cache.shape[axis]
    place = c.expand(index_along(c, length, 1, 2), (batch, length))
    if begin is not None:
        place = c.apply("sub", place, c.reshape(c.cast(begin, "int64"), (batch, 1)))
    if circular:
        place = c.apply("mod", place, c.size_value(length))
    last = c.apply("sub", c.size_value(update.shape[axis]), 1)
    written = c.apply("logical_and", c.apply("greater_equal", place, 0), c.apply("less_equal", place, last))
    source = c.reshape(c.apply("minimum", c.apply("maximum", place, 0), last), (batch, length, 1))
    rest = [a for a in range(1, cache.rank) if a != axis]
    rows = c.apply("gather_nd", c.transpose(update, (0, axis, *rest)), source, batch_dims=1)
    back = [0] * cache.rank
    for place_now, place_then in enumerate((0, axis, *rest)):
        back[place_then] = place_now
    along = [length if a == axis else 1 for a in range(1, cache.rank)]
    return c.apply("where", c.reshape(written, (batch, *along)), c.transpose(rows, back), cache)


TABLE = {
    "CausalConvWithState": causal_convolution,
    "LinearAttention": linear_attention,
    "TensorScatter": tensor_scatter,
    "com.microsoft.CausalConvWithState": microsoft_causal_convolution,
    "com.microsoft.LinearAttention": linear_attention,
}
